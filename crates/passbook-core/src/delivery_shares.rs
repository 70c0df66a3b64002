//! Whose webhook is attempted next: fair shares of the attempts that run at once.
//!
//! A receiver may hang for ten seconds, so slots that are taken do not come free soon, and a share that is only given
//! back on demand would be given back too late. Therefore nobody takes the last slots:
//!
//! - A **tenant** holds at most half of the slots that no other tenant holds. With `n` tenants that want all, each holds one
//!   part of `n + 1`, and one such part stays free for the next who comes.
//! - One **host** holds at most half of what its tenant may, and so do all **failing** addresses of a tenant together: an
//!   app with dead receivers still reaches its others.
//! - One **address** holds at most [`PER_ADDRESS`].
//!
//! A free slot goes to the tenant that holds the fewest, and there to the host that holds the fewest; between equals,
//! to the delivery that has waited longest. (The first rule is the dynamic threshold of shared-memory switches:
//! Choudhury and Hahne, IEEE/ACM Transactions on Networking 6, 1998.)

use std::{
    cmp::{Ordering, Reverse},
    collections::{BinaryHeap, HashMap},
};

use jiff::Timestamp;

use crate::tenant::Tenant;

/// Attempts that run at once in one process. One tenant alone may hold half of them.
pub const SLOTS: u32 = 512;
/// Attempts that run at once for one address.
pub const PER_ADDRESS: u32 = 8;

/// Where an attempt goes, and for whom.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Destination {
    /// Whose delivery it is.
    pub tenant: Tenant,
    /// Host and port of the URL.
    pub host: String,
    /// The address: a digest of tenant and URL.
    pub address_id: String,
    /// Whether the last attempt at the address failed.
    pub is_failing: bool,
}

/// Deliveries to one address that can be attempted now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadyQueue {
    /// Where they go.
    pub destination: Destination,
    /// How many there are; more than [`PER_ADDRESS`] need not be counted.
    pub count: u32,
    /// When the oldest of them became due, real time.
    pub due_at: Timestamp,
}

/// The attempts that run in this process.
#[derive(Debug, Clone, Default)]
pub struct RunningAttempts {
    total: u32,
    tenants: HashMap<Tenant, OfTenant>,
}

/// Those of one tenant.
#[derive(Debug, Clone, Default)]
struct OfTenant {
    total: u32,
    failing: u32,
    hosts: HashMap<String, u32>,
    addresses: HashMap<String, u32>,
}

impl OfTenant {
    /// Whether one more may go there, when the tenant may hold `most`.
    fn has_room(&self, destination: &Destination, most: u32) -> bool {
        let half = most.div_ceil(2);
        self.total < most
            && held(&self.hosts, &destination.host) < half
            && held(&self.addresses, &destination.address_id) < PER_ADDRESS
            && (!destination.is_failing || self.failing < half)
    }

    fn add(&mut self, destination: &Destination) {
        self.total += 1;
        self.failing += u32::from(destination.is_failing);
        *self.hosts.entry(destination.host.clone()).or_default() += 1;
        *self.addresses.entry(destination.address_id.clone()).or_default() += 1;
    }
}

/// What a tenant has to do, host by host.
#[derive(Default)]
struct Line<'a> {
    by_name: HashMap<&'a str, usize>,
    hosts: Vec<Host>,
    /// Which host is next: the one that holds the fewest, then the one that has waited longest.
    order: BinaryHeap<Reverse<(u32, Timestamp, usize)>>,
    due_at: Timestamp,
}

struct Host {
    held: u32,
    due_at: Timestamp,
    /// Which queue is next: the one of which the fewest were picked, then the one that has waited longest.
    order: BinaryHeap<Reverse<(u32, Timestamp, usize)>>,
}

impl<'a> Line<'a> {
    fn add(&mut self, index: usize, queue: &'a ReadyQueue, running: &RunningAttempts) {
        let Destination { tenant, host, .. } = &queue.destination;
        let place = *self.by_name.entry(host).or_insert(self.hosts.len());
        if place == self.hosts.len() {
            let held = running.tenants.get(tenant).map_or(0, |own| held(&own.hosts, host));
            self.hosts.push(Host { held, due_at: queue.due_at, order: BinaryHeap::new() });
        }
        let host = &mut self.hosts[place];
        host.due_at = host.due_at.min(queue.due_at);
        host.order.push(Reverse((0, queue.due_at, index)));
    }

    fn sort(&mut self) {
        self.due_at = self.hosts.iter().map(|host| host.due_at).min().unwrap_or_default();
        self.order =
            self.hosts.iter().enumerate().map(|(place, host)| Reverse((host.held, host.due_at, place))).collect();
    }

    /// The queue of which one more is picked. What has no room is left out for good: nothing ends meanwhile.
    fn next(&mut self, queues: &[ReadyQueue], own: &OfTenant, most: u32, picked: &[u32]) -> Option<usize> {
        while let Some(Reverse((_, due_at, place))) = self.order.pop() {
            let host = &mut self.hosts[place];
            while let Some(Reverse((count, queue_due_at, index))) = host.order.pop() {
                if picked[index] < queues[index].count && own.has_room(&queues[index].destination, most) {
                    host.order.push(Reverse((count + 1, queue_due_at, index)));
                    host.held += 1;
                    self.order.push(Reverse((host.held, due_at, place)));
                    return Some(index);
                }
            }
        }
        None
    }
}

/// A tenant that waits for a slot. The greatest is next: it holds the fewest, or its oldest delivery waits longest.
struct Turn<'a> {
    held: u32,
    tenant: &'a Tenant,
    line: Line<'a>,
}

impl Turn<'_> {
    fn rank(&self) -> Reverse<(u32, Timestamp, &str, &str)> {
        let Tenant { app_id, environment } = self.tenant;
        Reverse((self.held, self.line.due_at, app_id.as_str(), environment.as_str()))
    }
}

impl Ord for Turn<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl PartialOrd for Turn<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Turn<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Turn<'_> {}

impl RunningAttempts {
    /// An attempt begins.
    pub fn begin(&mut self, destination: &Destination) {
        self.total += 1;
        self.tenants.entry(destination.tenant.clone()).or_default().add(destination);
    }

    /// An attempt that began with an equal destination ends.
    pub fn end(&mut self, destination: &Destination) {
        let Some(of_tenant) = self.tenants.get_mut(&destination.tenant) else { return };
        self.total = self.total.saturating_sub(1);
        of_tenant.total = of_tenant.total.saturating_sub(1);
        of_tenant.failing = of_tenant.failing.saturating_sub(u32::from(destination.is_failing));
        give_back(&mut of_tenant.hosts, &destination.host);
        give_back(&mut of_tenant.addresses, &destination.address_id);
        if of_tenant.total == 0 {
            self.tenants.remove(&destination.tenant);
        }
    }

    /// How many run.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.total
    }

    /// How many attempts of each queue begin now, in the order of `queues`. No two queues are of the same address.
    #[must_use]
    pub fn pick(&self, queues: &[ReadyQueue]) -> Vec<u32> {
        let mut running = self.clone();
        let mut picked = vec![0; queues.len()];
        let mut lines: HashMap<&Tenant, Line<'_>> = HashMap::new();
        for (index, queue) in queues.iter().enumerate() {
            lines.entry(&queue.destination.tenant).or_default().add(index, queue, &running);
        }
        let mut turns: BinaryHeap<_> = lines
            .into_iter()
            .map(|(tenant, mut line)| {
                line.sort();
                Turn { held: running.held_by(tenant), tenant, line }
            })
            .collect();
        while running.total < SLOTS
            && let Some(mut turn) = turns.pop()
        {
            let most = (SLOTS - (running.total - turn.held)).div_ceil(2);
            let own = running.tenants.entry(turn.tenant.clone()).or_default();
            // Without a next one the tenant has had its turns: its room grows only when something ends.
            if let Some(next) = turn.line.next(queues, own, most, &picked) {
                picked[next] += 1;
                own.add(&queues[next].destination);
                turn.held = own.total;
                running.total += 1;
                turns.push(turn);
            }
        }
        picked
    }

    fn held_by(&self, tenant: &Tenant) -> u32 {
        self.tenants.get(tenant).map_or(0, |own| own.total)
    }
}

fn held(counts: &HashMap<String, u32>, key: &str) -> u32 {
    counts.get(key).copied().unwrap_or(0)
}

fn give_back(counts: &mut HashMap<String, u32>, key: &str) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::{ids::AppId, tenant::Environment};

    fn tenant(number: u32) -> Tenant {
        Tenant { app_id: AppId::from_bits(number.into()), environment: Environment::Sandbox }
    }

    fn queue(of: u32, host: u32, address: u32, count: u32) -> ReadyQueue {
        let destination = Destination {
            tenant: tenant(of),
            host: format!("host-{host}:443"),
            address_id: format!("{of}/{host}/{address}"),
            is_failing: false,
        };
        ReadyQueue { destination, count, due_at: Timestamp::UNIX_EPOCH }
    }

    fn failing(queue: ReadyQueue) -> ReadyQueue {
        let destination = Destination { is_failing: true, ..queue.destination };
        ReadyQueue { destination, ..queue }
    }

    /// As many addresses of as many hosts as take everything.
    fn hungry(of: u32) -> Vec<ReadyQueue> {
        (0..SLOTS).map(|host| queue(of, host, 0, PER_ADDRESS)).collect()
    }

    fn begin(running: &mut RunningAttempts, queues: &[ReadyQueue]) -> Vec<u32> {
        let picked = running.pick(queues);
        for (queue, count) in queues.iter().zip(&picked) {
            (0..*count).for_each(|_| running.begin(&queue.destination));
        }
        picked
    }

    #[test]
    fn a_tenant_alone_takes_half_and_the_other_half_waits_for_others() {
        let mut running = RunningAttempts::default();
        begin(&mut running, &hungry(1));
        assert_eq!(running.total(), SLOTS / 2);
        assert_eq!(begin(&mut running, &hungry(1)).iter().sum::<u32>(), 0, "however often it asks");
        let bystander = begin(&mut running, &[queue(2, 0, 0, 1)]);
        assert_eq!(bystander, [1]);
    }

    #[test]
    fn one_host_takes_half_of_its_tenants_share_and_one_address_eight() {
        let mut running = RunningAttempts::default();
        let of_one_host: Vec<_> = (0..SLOTS).map(|address| queue(1, 0, address, PER_ADDRESS)).collect();
        let picked = begin(&mut running, &of_one_host);
        assert_eq!(running.total(), SLOTS / 4);
        assert!(picked.iter().all(|count| *count <= PER_ADDRESS));
        assert_eq!(begin(&mut running, &[queue(1, 1, 0, 100)]), [PER_ADDRESS], "another host of the tenant has room");
        assert_eq!(begin(&mut running, &[queue(1, 1, 0, 1)]), [0]);
    }

    #[test]
    fn failing_addresses_leave_half_of_their_tenants_share_to_the_others() {
        let mut running = RunningAttempts::default();
        let dead: Vec<_> = hungry(1).into_iter().map(failing).collect();
        begin(&mut running, &dead);
        assert_eq!(running.total(), SLOTS / 4);
        begin(&mut running, &hungry(1));
        assert_eq!(running.total(), SLOTS / 2);
    }

    #[test]
    fn hungry_tenants_that_come_together_hold_equal_parts_and_leave_one_more() {
        for tenants in [1, 2, 3, 7, 12] {
            let mut running = RunningAttempts::default();
            let queues: Vec<_> = (0..tenants).flat_map(hungry).collect();
            begin(&mut running, &queues);
            let held: Vec<_> = (0..tenants).map(|of| running.held_by(&tenant(of))).collect();
            let part = SLOTS / (tenants + 1);
            assert!(held.iter().all(|count| count.abs_diff(part) <= 1), "{tenants}: {held:?}");
            assert!((SLOTS - running.total()).abs_diff(part) <= tenants, "{tenants}: {}", running.total());
        }
    }

    #[test]
    fn the_oldest_goes_first_where_only_one_can() {
        let mut running = RunningAttempts::default();
        let full: Vec<_> = (0..400).map(|of| queue(of, 0, 0, PER_ADDRESS)).collect();
        while begin(&mut running, &full).iter().sum::<u32>() > 0 {}
        // Shares are rounded down; what that leaves free goes to tenants that have nothing yet.
        for of in 2_000..2_000 + (SLOTS - running.total()) {
            begin(&mut running, &[queue(of, 0, 0, 1)]);
        }
        assert_eq!(running.total(), SLOTS);
        running.end(&full[0].destination);
        let (old, new) = (queue(1_000, 0, 0, 1), queue(1_001, 0, 0, 1));
        let new = ReadyQueue { due_at: Timestamp::from_second(5).unwrap(), ..new };
        assert_eq!(running.pick(&[new, old]), [0, 1]);
    }

    /// Deliveries of a few tenants to a few hosts and addresses.
    fn queues() -> impl Strategy<Value = Vec<ReadyQueue>> {
        let one = (0_u32..6, 0_u32..5, 0_u32..40, 1_u32..12, any::<bool>(), 0_i64..100);
        vec(one, 0..300).prop_map(|all| {
            let mut by_address = std::collections::BTreeMap::new();
            for (of, host, address, count, is_failing, second) in all {
                let queue = queue(of, host, address, count);
                let queue = if is_failing { failing(queue) } else { queue };
                let due_at = Timestamp::from_second(second).unwrap();
                by_address.insert((of, host, address), ReadyQueue { due_at, ..queue });
            }
            by_address.into_values().collect()
        })
    }

    proptest! {
        #[test]
        fn no_bound_is_ever_passed_and_what_ends_is_given_back(rounds in vec((queues(), 0_usize..200), 1..6)) {
            let (mut running, mut open) = (RunningAttempts::default(), Vec::<Destination>::new());
            for (queues, ended) in rounds {
                for destination in open.drain(..ended.min(open.len())) {
                    running.end(&destination);
                }
                let before = running.clone();
                let picked = begin(&mut running, &queues);
                for (queue, count) in queues.iter().zip(&picked) {
                    prop_assert!(*count <= queue.count);
                    open.extend((0..*count).map(|_| queue.destination.clone()));
                }
                prop_assert_eq!(running.total() as usize, open.len());
                prop_assert!(running.total() <= SLOTS);
                for (tenant, own) in &running.tenants {
                    let most = (SLOTS - (running.total() - own.total)).div_ceil(2);
                    // What it held before, it keeps; others that came since may have made its part smaller.
                    prop_assert!(own.total <= most.max(before.held_by(tenant)) + 1);
                    prop_assert!(own.addresses.values().all(|count| *count <= PER_ADDRESS));
                    prop_assert_eq!(own.hosts.values().sum::<u32>(), own.total);
                }
            }
            for destination in open {
                running.end(&destination);
            }
            prop_assert_eq!(running.total(), 0);
            prop_assert!(running.tenants.is_empty());
        }

        #[test]
        fn no_slot_stays_free_that_somebody_may_take(queues in queues()) {
            let mut running = RunningAttempts::default();
            let picked = begin(&mut running, &queues);
            for (queue, count) in queues.iter().zip(&picked) {
                let own = running.tenants.get(&queue.destination.tenant).cloned().unwrap_or_default();
                let most = (SLOTS - (running.total() - own.total)).div_ceil(2);
                prop_assert!(*count == queue.count || !own.has_room(&queue.destination, most));
            }
        }

        #[test]
        fn whoever_holds_nothing_gets_a_slot_while_one_is_free(queues in queues(), newcomer in 100_u32..200) {
            let mut running = RunningAttempts::default();
            begin(&mut running, &queues);
            prop_assume!(running.total() < SLOTS);
            let with_others: Vec<_> = queues.into_iter().chain([queue(newcomer, 0, 0, 3)]).collect();
            let picked = running.pick(&with_others);
            prop_assert!(picked.last().is_some_and(|count| *count > 0));
        }
    }
}
