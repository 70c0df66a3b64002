use std::collections::BTreeMap;

use super::*;

const KEY: &str = "passbook-master-key-v1:0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f";

fn read(text: &str, environment: &[(&str, &str)]) -> Result<Config, Problems> {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Config::from_text(text, environment.iter().map(own).collect())
}

/// With what has no default.
fn read_with_key(text: &str) -> Result<Config, Problems> {
    read(text, &[("PASSBOOK_KEYS__MASTER_KEY", KEY)])
}

fn wrong_settings(problems: &Problems) -> Vec<&str> {
    problems.list().iter().map(|problem| problem.setting.as_str()).collect()
}

#[test]
fn the_reference_names_every_setting_and_nothing_else() {
    for known in settings::known() {
        let section = REFERENCE.split(&format!("[{}]\n", known.section)).nth(1).expect("the section is there");
        let section = section.split("\n[").next().unwrap_or_default();
        let names = match known.kind {
            settings::Kind::Secret => vec![format!("{}_file", known.key)],
            _ => vec![known.key.to_owned()],
        };
        for name in names {
            let lines = || section.lines().map(|line| line.strip_prefix('#').unwrap_or(line));
            assert!(lines().any(|line| line.starts_with(&format!("{name} = "))), "{}.{name}", known.section);
        }
    }
    // Every commented example is of the form that its setting takes.
    let uncommented: String = REFERENCE
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
        .map(|line| format!("{line}\n"))
        .collect();
    let settings = Settings::from_text(&uncommented, BTreeMap::new()).expect("TOML");
    assert_eq!(settings.problems().list(), []);
}

#[test]
fn an_empty_file_gives_the_reference() {
    let shown = |text| Settings::from_text(text, BTreeMap::new()).expect("TOML").show().replace("  # file", "");
    assert_eq!(shown(""), shown(REFERENCE));
    let config = read_with_key("").expect("the defaults are in order");
    assert_eq!(config.server.listen, "127.0.0.1:8080".parse().expect("an address"));
    assert!(config.limits.enabled && !config.sandbox.enabled);
    assert!(matches!(config.store.place, Place::Embedded));
}

#[test]
fn every_problem_is_reported_at_once() {
    let text =
        "stray = 1\n[server]\nlisten = 8080\nreplicas = 0\ncolour = \"red\"\n[disco]\na = 1\n[log]\nformat = \"xml\"\n";
    let problems =
        read(text, &[("PASSBOOK_SERVER__RPLICAS", "2"), ("PASSBOOK_LIMITS__FACTOR", "many")]).expect_err("wrong");
    let mut found = wrong_settings(&problems);
    found.sort_unstable();
    let expected = [
        "PASSBOOK_LIMITS__FACTOR",
        "PASSBOOK_SERVER__RPLICAS",
        "disco",
        "keys.master_key_file",
        "log.format",
        "server.colour",
        "server.listen",
        "server.replicas",
        "stray",
    ];
    assert_eq!(found, expected, "{problems}");
}

#[test]
fn the_environment_goes_before_the_file() {
    let text = "[server]\nlisten = \"127.0.0.1:1\"\ntrusted_proxies = [\"10.0.0.1\"]\n[keys]\nmaster_key_file = \"/nowhere\"\n";
    let environment = [
        ("PASSBOOK_SERVER__LISTEN", "127.0.0.1:2"),
        ("PASSBOOK_SERVER__TRUSTED_PROXIES", "10.1.0.0/16, fd00::/8"),
        ("PASSBOOK_SANDBOX__ENABLED", "true"),
        ("PASSBOOK_KEYS__MASTER_KEY", KEY),
        ("PASSBOOK_LOG", "debug"),
    ];
    let config = read(text, &environment).expect("in order");
    assert_eq!(config.server.listen.port(), 2);
    assert_eq!(config.server.trusted_proxies.len(), 2);
    assert!(config.sandbox.enabled);
    assert_eq!(config.keys.master_keys.len(), 1);
}

#[test]
fn unsafe_settings_are_refused_by_name() {
    let database = |url: &str| format!("[store]\nkind = \"postgres\"\nurl = \"{url}\"\n");
    let cases: &[(String, &str)] = &[
        ("[server]\nlisten = \"0.0.0.0:80\"\n".into(), "server.listen"),
        ("[server]\nlisten = \"[::]:80\"\n".into(), "server.listen"),
        ("[server]\ntrusted_proxies = [\"0.0.0.0/0\"]\n".into(), "server.trusted_proxies"),
        ("[server]\npublic_url = \"http://passbook.example.com\"\n".into(), "server.public_url"),
        ("[server]\npublic_url = \"https://me:secret@passbook.example.com\"\n".into(), "server.public_url"),
        ("[server]\npublic_url = \"https://passbook.example.com/api\"\n".into(), "server.public_url"),
        (
            "[server]\nlisten = \"10.0.0.1:80\"\ntrusted_proxies = [\"10.0.0.2\"]\n[limits]\nenabled = false\n".into(),
            "limits.enabled",
        ),
        ("[server]\nhosts = [\"https://passbook.internal\"]\n".into(), "server.hosts"),
        ("[server]\nhosts = [\"passbook.internal:8443\"]\n".into(), "server.hosts"),
        ("[server]\nhosts = [\"*.internal\"]\n".into(), "server.hosts"),
        ("[server]\noperator_listen = \"9090\"\n".into(), "server.operator_listen"),
        ("[server]\noperator_listen = \"127.0.0.1:8080\"\n".into(), "server.operator_listen"),
        ("[server]\nreplicas = 2\n".into(), "server.replicas"),
        ("[server]\nrole = \"api\"\n".into(), "server.role"),
        ("[server]\ntls_key_file = \"/nowhere\"\n".into(), "server.tls_certificate_file"),
        ("[store]\nkind = \"mysql\"\n".into(), "store.kind"),
        ("[store]\nkind = \"postgres\"\n".into(), "store.url"),
        ("[store]\nurl = \"postgres://localhost/p\"\n".into(), "store.url"),
        (database("mysql://localhost/p"), "store.url"),
        (database("postgres://db.internal/p"), "store.url"),
        (database("postgres://db.internal/p?sslmode=prefer"), "store.url"),
        (database("postgres://localhost/p?host=db.internal"), "store.url"),
        (database("postgres://db.internal/p?host=localhost"), "store.url"),
        (database("postgres://localhost/p?host=localhost&host=db.internal"), "store.url"),
        (database("postgres://localhost/p?hostaddr=192.0.2.1"), "store.url"),
        (database("postgres:///p?hostaddr=192.0.2.1"), "store.url"),
        (database("postgres://localhost/p?application_name=a#&host=db.internal"), "store.url"),
        (database("postgres://db.internal/p?sslmode=require&sslmode=disable"), "store.url"),
        (database("postgres://localhost/p?sslmode=verify-full"), "store.url"),
        (database("postgres://db.internal/p?sslmode=require"), "store.tls_ca_file"),
        (database("postgres://localhost/p?sslmode=disable") + "tls_ca_file = \"/ca.pem\"\n", "store.tls_ca_file"),
    ];
    for (text, setting) in cases {
        let problems = read_with_key(text).expect_err(text);
        assert_eq!(wrong_settings(&problems), [*setting], "{text}\n{problems}");
    }
}

#[test]
fn a_server_is_called_by_the_names_it_was_told_and_the_addresses_it_listens_on() {
    let known = |text: &str| {
        let config = read_with_key(&format!("[server]\n{text}\n")).unwrap_or_else(|problems| panic!("{problems}"));
        (config.server.known_hosts(), config.warnings.iter().any(|warning| warning.starts_with("server.hosts:")))
    };
    let hosts = |names: &[&str]| names.iter().map(|name| name.parse().expect("a host")).collect::<Vec<_>>();
    assert_eq!(known("listen = \"127.0.0.1:1\""), (hosts(&["127.0.0.1"]), false));
    let told = "listen = \"10.0.0.1:1\"\ntrusted_proxies = [\"10.0.0.2\"]\noperator_listen = \"[::]:2\"\n\
                public_url = \"https://Passbook.example.com\"\nhosts = [\"passbook.internal\", \"[2001:db8::1]\"]";
    let expected = hosts(&["passbook.example.com", "passbook.internal", "2001:db8::1", "10.0.0.1"]);
    assert_eq!(known(told), (expected, false));
    // Every address is none that could be named.
    assert_eq!(known("listen = \"0.0.0.0:1\"\ntrusted_proxies = [\"10.0.0.2\"]"), (Vec::new(), true));
}

#[test]
fn safe_settings_are_accepted() {
    for text in [
        "[server]\nlisten = \"10.0.0.1:80\"\ntrusted_proxies = [\"10.0.0.2\"]\n",
        "[server]\npublic_url = \"http://localhost:8080\"\n",
        "[limits]\nenabled = false\n",
        "[store]\nkind = \"postgres\"\nurl = \"postgres://p@localhost/p\"\n[server]\nreplicas = 3\nrole = \"api\"\n",
        "[store]\nkind = \"postgres\"\nurl = \"postgres:///p?host=/run/postgresql\"\n",
        "[store]\nkind = \"postgres\"\nurl = \"postgres://p@db.internal/p?sslmode=require\"\ntls_ca_file = \"/ca.pem\"\n",
    ] {
        read_with_key(text).unwrap_or_else(|problems| panic!("{text}\n{problems}"));
    }
}

#[cfg(unix)]
#[test]
fn a_secret_file_must_be_private_and_lie_outside_of_the_data() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().expect("a directory");
    let key = directory.path().join("master.key");
    std::fs::write(&key, format!("# newest\n{KEY}\n")).expect("a key file");
    let data = directory.path().join("data");
    let mode = |mode| std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).expect("a mode");
    let text = |data: &Path| format!("[store]\ndata = {data:?}\n[keys]\nmaster_key_file = {key:?}\n");
    mode(0o640);
    assert_eq!(read(&text(&data), &[]).expect("in order").keys.master_keys.len(), 1);
    for data in [directory.path(), &data.join("..")] {
        let problems = read(&text(data), &[]).expect_err("the key lies in the data");
        assert_eq!(wrong_settings(&problems), ["keys.master_key_file"]);
    }
    mode(0o644);
    assert_eq!(wrong_settings(&read(&text(&data), &[]).expect_err("public")), ["keys.master_key_file"]);

    let file = directory.path().join("passbook.toml");
    std::fs::write(&file, format!("[keys]\nmaster_key = \"{KEY}\"\n")).expect("a file");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("a mode");
    let problems = Settings::load(&file, BTreeMap::new()).expect("TOML").problems().clone();
    assert_eq!(problems.list().len(), 1, "{problems}");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("a mode");
    assert_eq!(Settings::load(&file, BTreeMap::new()).expect("TOML").problems().list(), []);
}

#[test]
fn no_secret_is_shown_or_repeated() {
    let canary = "canary-0f0f";
    let text =
        format!("[keys]\nmaster_key = \"{canary}\"\n[store]\nkind = \"postgres\"\nurl = \"mysql://u:{canary}@h/d\"\n");
    let problems = read(&text, &[]).expect_err("neither is right");
    let shown = Settings::from_text(&text, BTreeMap::new()).expect("TOML").show();
    assert!(shown.contains("master_key = \"[redacted]\"") && shown.contains("url = \"[redacted]\""), "{shown}");
    let broken = Settings::from_text(&format!("[keys]\nmaster_key = \"{canary}\n"), BTreeMap::new()).err();
    let config = read(
        "",
        &[
            ("PASSBOOK_KEYS__MASTER_KEY", KEY),
            ("PASSBOOK_STORE__URL", &format!("postgres://u:{canary}@localhost/d")),
            ("PASSBOOK_STORE__KIND", "postgres"),
        ],
    );
    for said in [problems.to_string(), format!("{problems:?}"), shown, format!("{broken:?}"), format!("{config:?}")] {
        assert!(!said.contains(canary) && !said.contains(&KEY[30..]), "{said}");
    }
    assert!(config.is_ok() && broken.is_some());
}

#[test]
fn what_the_operator_says_of_webhooks_is_what_is_called() {
    let webhooks = |text: &str| read_with_key(&format!("[webhooks]\n{text}\n")).map(|config| config.webhooks);
    let allowed = |text: &str, url: &str| webhooks(text).unwrap().policy.check(url).is_ok();
    for (setting, url) in [
        ("allow_http = true", "http://hook.example/"),
        ("ports = [\"8443\"]", "https://hook.example:8443/"),
        ("networks = [\"10.20.0.0/16\"]", "https://10.20.3.4/"),
        ("only_this_machine = true", "http://127.0.0.1:3000/"),
    ] {
        assert!(allowed(setting, url) && !allowed("", url), "{setting}");
    }
    assert!(webhooks("refresh_events = \"final\"").unwrap().final_states_only);
    let own = "https://passbook.example".parse().unwrap();
    assert_eq!(webhooks("").unwrap().webhooks(Some(&own)).issuer, "https://passbook.example");
    let other = webhooks("issuer = \"https://other.example\"").unwrap();
    assert_eq!(other.webhooks(Some(&own)).issuer, "https://other.example");
    for (wrong, name) in [
        ("ports = [\"0\"]", "webhooks.ports"),
        ("networks = [\"0.0.0.0/0\"]", "webhooks.networks"),
        ("networks = [\"inside\"]", "webhooks.networks"),
        ("refresh_events = \"some\"", "webhooks.refresh_events"),
    ] {
        assert_eq!(wrong_settings(&webhooks(wrong).unwrap_err()), [name], "{wrong}");
    }
}
