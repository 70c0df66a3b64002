//! Apps: adding, listing, renaming, disabling, finding by id or name.

use passbook_core::{
    ids::AppId,
    time::{AppClock, truncate},
};
use passbook_store::port::{App, AppUsage, Changes};

use super::{Answer, AppShown, Operator, Refusal, instance_tenant, origins::canonical};

/// Longest name of an app or a client, in characters.
const NAME_MAX: usize = 100;

impl Operator {
    pub(super) async fn add_app(&self, name: &str, origins: &[String]) -> Result<Answer, Refusal> {
        let name = self.fresh_name(name, None).await?;
        let mut allowed_origins = Vec::new();
        for origin in origins {
            let origin = canonical(origin)?;
            if !allowed_origins.contains(&origin) {
                allowed_origins.push(origin);
            }
        }
        let derivation = self.derivation().await?;
        let ordinal = self.store.take_ordinal(&instance_tenant().app_id, "app").await?;
        let id = AppId::from_bits(derivation.bits("app", &["operator"], ordinal));
        let app = App { id, name, clock: AppClock::default(), allowed_origins, disabled_at: None };
        self.write_app(None, app, "add_app").await
    }

    pub(super) async fn list_apps(&self) -> Result<Answer, Refusal> {
        let mut apps = Vec::new();
        for app in self.store.list_apps().await? {
            let usage = self.store.app_usage(&app.id).await?;
            apps.push(shown(&app, usage));
        }
        Ok(Answer::Apps(apps))
    }

    pub(super) async fn rename_app(&self, app: &str, name: &str) -> Result<Answer, Refusal> {
        let app = self.find_app(app).await?;
        let name = self.fresh_name(name, Some(&app.id)).await?;
        self.write_app(Some(app.clone()), App { name, ..app }, "rename_app").await
    }

    pub(super) async fn disable_app(&self, app: &str) -> Result<Answer, Refusal> {
        let app = self.find_app(app).await?;
        if app.disabled_at.is_some() {
            return Err(Refusal::unfit(format!("{:?} is disabled already", app.name)));
        }
        let disabled_at = Some(truncate(self.store.now()));
        self.write_app(Some(app.clone()), App { disabled_at, ..app }, "disable_app").await
    }

    pub(super) async fn enable_app(&self, app: &str) -> Result<Answer, Refusal> {
        let app = self.find_app(app).await?;
        if app.disabled_at.is_none() {
            return Err(Refusal::unfit(format!("{:?} is not disabled", app.name)));
        }
        self.write_app(Some(app.clone()), App { disabled_at: None, ..app }, "enable_app").await
    }

    /// Writes `app` if the stored one is still what it `was`.
    pub(super) async fn write_app(&self, was: Option<App>, app: App, action: &'static str) -> Result<Answer, Refusal> {
        let audit = self.audit_app(&app.id, action);
        let answer = Answer::App(shown(&app, self.store.app_usage(&app.id).await?));
        self.store.commit(Changes { app: Some(app), app_was: was, audit, ..Changes::default() }).await?;
        Ok(answer)
    }

    /// The app with this id, or else the only one with this name.
    pub(super) async fn find_app(&self, text: &str) -> Result<App, Refusal> {
        if let Some(id) = AppId::parse(text)
            && let Some(app) = self.store.lookup_app(&id).await?
        {
            return Ok(app);
        }
        let mut named: Vec<_> = self.store.list_apps().await?.into_iter().filter(|app| app.name == text).collect();
        match named.len() {
            0 => Err(Refusal::unfit(format!("there is no app {text:?}; `passbook apps list` shows all"))),
            1 => Ok(named.remove(0)),
            _ => Err(Refusal::unfit(format!("several apps are called {text:?}; name one by its id"))),
        }
    }

    /// `name`, if it may be a name and no other app has it.
    async fn fresh_name(&self, name: &str, own: Option<&AppId>) -> Result<String, Refusal> {
        let name = checked_name(name)?;
        let is_taken = self.store.list_apps().await?.iter().any(|app| app.name == name && Some(&app.id) != own);
        if is_taken { Err(Refusal::unfit(format!("an app is called {name:?} already"))) } else { Ok(name) }
    }
}

/// A name that can be shown on one line.
pub(super) fn checked_name(name: &str) -> Result<String, Refusal> {
    let name = name.trim();
    let is_fit = !name.is_empty() && name.chars().count() <= NAME_MAX && !name.chars().any(char::is_control);
    if is_fit {
        Ok(name.to_owned())
    } else {
        Err(Refusal::unfit(format!("a name has 1 to {NAME_MAX} characters, none of them a control character")))
    }
}

fn shown(app: &App, usage: AppUsage) -> AppShown {
    AppShown {
        app_id: app.id.to_string(),
        name: app.name.clone(),
        origins: app.allowed_origins.clone(),
        disabled_at: app.disabled_at,
        usage: Some(usage),
    }
}
