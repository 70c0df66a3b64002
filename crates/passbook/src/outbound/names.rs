//! How names become addresses: the system's own way, on few threads that tenants share.
//!
//! The system's resolver holds a thread until it has an answer, for half a minute when the name's servers are silent, and
//! longer than the caller waits. So look-ups have places of their own, which are given back when the thread is free again.

use std::{
    future::Future,
    io,
    net::{SocketAddr, ToSocketAddrs as _},
    sync::Arc,
    time::Duration,
};

use passbook_core::{shares::Bounds, tenant::Tenant};

use passbook_store::places::Places;

/// Look-ups at once.
const LOOKUPS_MAX: u32 = 128;
/// Look-ups of one tenant that wait, and how long: as long as a connection may take.
const WAITING_MAX: u32 = 512;
const WAIT_MAX: Duration = Duration::from_secs(5);

tokio::task_local! {
    /// Whose call the current task makes; the client asks its resolver within it.
    static ASKING: Tenant;
}

/// Makes a call for the tenant: it is the one whose look-ups are counted.
pub(super) async fn asked_by<T>(tenant: Tenant, call: impl Future<Output = T>) -> T {
    ASKING.scope(tenant, call).await
}

/// How names become addresses. The system's own way, except in tests.
pub trait Names: Send + Sync + 'static {
    /// All addresses of a name; the port is 0.
    fn look_up(&self, name: String) -> Looking;
}

/// Addresses of a name, as they come.
pub type Looking = std::pin::Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

type LookUp = dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// The system's resolver.
pub struct SystemNames {
    places: Arc<Places<Option<Tenant>>>,
    look_up: Arc<LookUp>,
}

impl Default for SystemNames {
    fn default() -> Self {
        Self::new(Arc::new(|name| Ok((name, 0).to_socket_addrs()?.collect())))
    }
}

impl SystemNames {
    fn new(look_up: Arc<LookUp>) -> Self {
        Self { places: Places::new(Bounds::held_long(LOOKUPS_MAX, WAITING_MAX), WAIT_MAX), look_up }
    }
}

impl Names for SystemNames {
    fn look_up(&self, name: String) -> Looking {
        let (places, look_up) = (self.places.clone(), self.look_up.clone());
        let tenant = ASKING.try_with(Tenant::clone).ok();
        Box::pin(async move {
            let place = places.enter(&tenant).await.map_err(io::Error::other)?;
            let looking = tokio::task::spawn_blocking(move || {
                let found = look_up(&name);
                // Whoever asked may have gone long ago; the thread was held all the same.
                drop(place);
                found
            });
            looking.await.map_err(io::Error::other)?
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Condvar, Mutex};

    use futures_util::{FutureExt as _, future::join_all};
    use passbook_core::{ids::AppId, tenant::Environment};

    use super::*;

    fn tenant(bits: u128) -> Tenant {
        Tenant { app_id: AppId::from_bits(bits), environment: Environment::Sandbox }
    }

    /// How many look-ups hang, and whether they go on.
    type Gate = Arc<(Mutex<(u32, bool)>, Condvar)>;

    /// A resolver to which names that begin with `slow` are unknown until the gate opens.
    fn hanging(gate: &Gate) -> SystemNames {
        let gate = gate.clone();
        SystemNames::new(Arc::new(move |name| {
            if name.starts_with("slow") {
                let (state, changed) = &*gate;
                let mut state = state.lock().unwrap();
                state.0 += 1;
                changed.notify_all();
                let _opened = changed.wait_while(state, |state| !state.1).unwrap();
            }
            Ok(Vec::new())
        }))
    }

    #[tokio::test]
    async fn names_that_hang_hold_up_their_own_tenant() {
        let gate = Gate::default();
        let names = hanging(&gate);
        let ask = |bits, name: String| ASKING.sync_scope(tenant(bits), || names.look_up(name));
        let mut slow = Vec::new();
        for number in 0..LOOKUPS_MAX {
            slow.push(tokio::spawn(ask(1, format!("slow{number}"))));
        }
        let most = LOOKUPS_MAX - LOOKUPS_MAX / 4;
        let hang = {
            let gate = gate.clone();
            move || drop(gate.1.wait_while(gate.0.lock().unwrap(), |state| state.0 < most).unwrap())
        };
        tokio::task::spawn_blocking(hang).await.unwrap();
        assert!(ask(1, "quick".to_owned()).now_or_never().is_none(), "its places are taken");
        assert!(ask(2, "quick".to_owned()).await.is_ok(), "others have places");
        assert_eq!(gate.0.lock().unwrap().0, most);
        gate.0.lock().unwrap().1 = true;
        gate.1.notify_all();
        assert!(join_all(slow).await.into_iter().all(|asked| asked.unwrap().is_ok()));
    }
}
