//! Apps, clients and origins.

use std::time::Duration;

use crate::server::{Home, field, text, wait_until};

/// How long a replica may answer from memory, and what a loaded machine adds to a measurement of it.
const REVOKED_WITHIN: Duration = Duration::from_millis(1_000 + 1_500);

#[tokio::test]
async fn commands_do_the_same_with_and_without_a_server() {
    let home = Home::served_once().await;
    let first = home.ask(&["apps", "add", "Shop", "--origin", "https://shop.example"]);
    let server = home.start().await;
    let second = home.ask(&["apps", "add", "Bank"]);
    let listed = home.ask(&["apps", "list"]);
    server.stop();
    assert_eq!(home.ask(&["apps", "list"]), listed);
    let apps = listed.as_array().unwrap();
    assert!(apps.contains(&first) && apps.contains(&second));
    assert_eq!(first["origins"][0], "https://shop.example");
    assert_eq!(apps.len(), 3, "the dev app is there too");
}

#[tokio::test]
async fn an_app_is_named_by_id_or_name_and_names_are_unique() {
    let home = Home::served_once().await;
    let app = home.ask(&["apps", "add", "Shop"]);
    let id = field(&app, "app_id");
    assert_eq!(home.ask(&["apps", "rename", "Shop", "Store"])["app_id"], id);
    assert_eq!(home.ask(&["apps", "rename", &id, "Shop"])["name"], "Shop");
    assert!(home.refusal(&["apps", "add", "Shop"]).contains("already"));
    assert!(home.refusal(&["apps", "rename", "Nobody", "Else"]).contains("there is no app"));
    for bad in ["", "  ", "two\nlines", &"x".repeat(101)] {
        assert!(home.refusal(&["apps", "add", bad]).contains("a name has"), "{bad:?}");
    }
}

#[tokio::test]
async fn a_new_client_works_at_once_and_its_secret_is_shown_once() {
    let home = Home::new();
    let server = home.start().await;
    home.ask(&["apps", "add", "Shop"]);
    let client = home.ask(&["clients", "add", "--app", "Shop", "--environment", "live", "--scope", "links"]);
    let (id, secret) = (field(&client, "client_id"), field(&client, "client_secret"));
    assert!(id.starts_with("live_") && id.len() == 25, "{id}");
    assert!(secret.len() == 43 && secret.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    assert_eq!(client["scopes"], "links");
    assert_eq!(server.status_for(&id, &secret).await, 200);
    let listed = home.run(&["clients", "list"]);
    assert!(text(&listed.stdout).contains(&id) && !text(&listed.stdout).contains(&secret));
    let sandbox = home.ask(&["clients", "add", "--app", "Shop", "--environment", "sandbox"]);
    assert!(field(&sandbox, "client_id").starts_with("sandbox_"));
    assert!(
        home.refusal(&["clients", "add", "--app", "Shop", "--environment", "live", "--scope", "all"])
            .contains("scopes are")
    );
}

#[tokio::test]
async fn a_client_is_rotated_without_a_gap() {
    let home = Home::new();
    let server = home.start().await;
    home.ask(&["apps", "add", "Shop"]);
    let client = home.ask(&["clients", "add", "--app", "Shop", "--environment", "live"]);
    let (id, old) = (field(&client, "client_id"), field(&client, "client_secret"));
    let old_token = server.token(&id, &old).await.unwrap();
    let new = field(&home.ask(&["clients", "rotate", &id]), "client_secret");
    assert_eq!((server.status_for(&id, &old).await, server.status_for(&id, &new).await), (200, 200));
    assert!(home.refusal(&["clients", "rotate", &id]).contains("revoke-secret"));

    assert_eq!(server.status_with(&old_token).await, 200);
    assert_eq!(home.ask(&["clients", "revoke-secret", &id])["live_secrets"], 1);
    let by_pair = wait_until("the old secret is refused", async || server.status_for(&id, &old).await == 401).await;
    let by_token = wait_until("its token is refused", async || server.status_with(&old_token).await == 401).await;
    assert!(by_pair + by_token < REVOKED_WITHIN, "{by_pair:?} {by_token:?}");
    assert_eq!(server.token(&id, &old).await, Err(401));
    let token = server.token(&id, &new).await.unwrap();
    assert_eq!(server.status_with(&token).await, 200);
    assert!(home.refusal(&["clients", "revoke-secret", &id]).contains("has one secret"));
}

#[tokio::test]
async fn a_revoked_client_is_refused_within_a_second() {
    let home = Home::new();
    let server = home.start().await;
    home.ask(&["apps", "add", "Shop"]);
    let client = home.ask(&["clients", "add", "--app", "Shop", "--environment", "sandbox"]);
    let (id, secret) = (field(&client, "client_id"), field(&client, "client_secret"));
    let token = server.token(&id, &secret).await.unwrap();
    assert_eq!((server.status_for(&id, &secret).await, server.status_with(&token).await), (200, 200));
    let revoked = home.ask(&["clients", "revoke", &id]);
    assert_eq!(revoked["live_secrets"], 0);
    assert!(revoked["disabled_at"].is_string());
    let took = wait_until("every way in is closed", async || {
        server.status_for(&id, &secret).await == 401 && server.status_with(&token).await == 401
    })
    .await;
    assert!(took < REVOKED_WITHIN, "{took:?}");
    assert_eq!(server.token(&id, &secret).await, Err(401));
    for again in ["rotate", "revoke", "scopes"] {
        assert!(home.refusal(&["clients", again, &id]).contains("was revoked"));
    }
}

#[tokio::test]
async fn a_disabled_app_is_refused_within_a_second_until_it_is_enabled() {
    let home = Home::new();
    let server = home.start().await;
    home.ask(&["apps", "add", "Shop"]);
    let client = home.ask(&["clients", "add", "--app", "Shop", "--environment", "sandbox"]);
    let (id, secret) = (field(&client, "client_id"), field(&client, "client_secret"));
    let token = server.token(&id, &secret).await.unwrap();
    assert_eq!((server.status_for(&id, &secret).await, server.status_with(&token).await), (200, 200));
    let disabled = home.ask(&["apps", "disable", "Shop"]);
    assert!(disabled["disabled_at"].is_string());
    let took = wait_until("every way in is closed", async || {
        server.status_for(&id, &secret).await == 401 && server.status_with(&token).await == 401
    })
    .await;
    assert!(took < REVOKED_WITHIN, "{took:?}");
    assert_eq!(server.token(&id, &secret).await, Err(401));
    assert!(home.refusal(&["apps", "disable", "Shop"]).contains("disabled already"));
    assert!(home.ask(&["apps", "list"]).as_array().unwrap().contains(&disabled));
    // What else is changed meanwhile leaves it disabled.
    assert_eq!(home.ask(&["apps", "rename", "Shop", "Store"])["disabled_at"], disabled["disabled_at"]);
    let new = field(&home.ask(&["clients", "rotate", &id]), "client_secret");
    assert_eq!(server.status_for(&id, &new).await, 401);

    assert!(home.ask(&["apps", "enable", "Store"])["disabled_at"].is_null());
    for good in [&secret, &new] {
        assert_eq!(server.status_for(&id, good).await, 200);
    }
    assert_eq!(server.status_with(&token).await, 200);
    assert!(home.refusal(&["apps", "enable", "Store"]).contains("is not disabled"));
}

#[tokio::test]
async fn a_dev_server_enables_its_own_app_when_it_starts() {
    let home = Home::served_once().await;
    home.ask(&["apps", "disable", "Passbook dev"]);
    let server = home.start().await;
    assert_eq!(server.numbers_status(&server.link_id).await, Some(200));
}

#[tokio::test]
async fn scopes_that_are_taken_away_are_gone_from_tokens_too() {
    let home = Home::new();
    let server = home.start().await;
    home.ask(&["apps", "add", "Shop"]);
    let client = home.ask(&["clients", "add", "--app", "Shop", "--environment", "sandbox"]);
    let (id, secret) = (field(&client, "client_id"), field(&client, "client_secret"));
    let token = server.token(&id, &secret).await.unwrap();
    assert_eq!(server.status_with(&token).await, 200);
    assert_eq!(home.ask(&["clients", "scopes", &id, "institutions"])["scopes"], "institutions");
    wait_until("listing links is refused", async || server.status_with(&token).await == 401).await;
}

#[tokio::test]
async fn origins_are_checked_and_kept() {
    let home = Home::served_once().await;
    home.ask(&["apps", "add", "Shop"]);
    home.ask(&["origins", "add", "--app", "Shop", "https://Shop.example:443"]);
    home.ask(&["origins", "add", "--app", "Shop", "http://localhost:*"]);
    let kept = home.ask(&["origins", "list", "--app", "Shop"]);
    assert_eq!(kept, serde_json::json!(["https://shop.example", "http://localhost:*"]));
    for bad in ["http://shop.example", "https://*.example", "https://shop.example/path", "https://shop.example:*"] {
        assert!(home.refusal(&["origins", "add", "--app", "Shop", bad]).contains("cannot be an origin"), "{bad}");
    }
    home.ask(&["origins", "remove", "--app", "Shop", "https://shop.example"]);
    assert!(home.refusal(&["origins", "remove", "--app", "Shop", "https://shop.example"]).contains("is not an origin"));
    assert_eq!(home.ask(&["origins", "list", "--app", "Shop"]), serde_json::json!(["http://localhost:*"]));
}

#[tokio::test]
async fn every_change_leaves_an_audit_row_and_no_secret_in_a_file() {
    let home = Home::served_once().await;
    home.ask(&["apps", "add", "Shop"]);
    let client = home.ask(&["clients", "add", "--app", "Shop", "--environment", "live"]);
    let id = field(&client, "client_id");
    let rotated = home.ask(&["clients", "rotate", &id]);
    home.ask(&["clients", "revoke-secret", &id]);
    home.ask(&["clients", "scopes", &id, "links"]);
    home.ask(&["origins", "add", "--app", "Shop", "https://shop.example"]);
    home.ask(&["origins", "remove", "--app", "Shop", "https://shop.example"]);
    home.ask(&["clients", "revoke", &id]);
    home.ask(&["apps", "rename", "Shop", "Store"]);
    home.ask(&["apps", "disable", "Store"]);
    home.ask(&["apps", "enable", "Store"]);
    let database = rusqlite::Connection::open(home.data().join("passbook.db")).unwrap();
    let mut audit = database.prepare("SELECT DISTINCT action FROM audit WHERE actor = 'operator'").unwrap();
    let actions = audit.query_map([], |row| row.get::<_, String>(0)).unwrap();
    let actions: std::collections::BTreeSet<_> = actions.map(Result::unwrap).collect();
    let expected = [
        "add_app",
        "add_client",
        "add_origin",
        "disable_app",
        "enable_app",
        "remove_origin",
        "rename_app",
        "revoke_client",
        "revoke_client_secret",
        "rotate_client_secret",
        "set_client_scopes",
    ];
    assert_eq!(actions.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    for secret in [field(&client, "client_secret"), field(&rotated, "client_secret")] {
        for entry in std::fs::read_dir(home.data()).unwrap() {
            let path = entry.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{}", path.display());
        }
    }
}
