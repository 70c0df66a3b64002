//! Every limit that the server enforces on a request stands in the documents, and is the one that it enforces: what the
//! document allows at most passes, and one more is refused at its place.

use passbook_core::ids::EventId;
use serde_json::{Value, json};

use crate::{
    documents::{CONTRACT, OWN, document, operations, resolved},
    support::{Answer, Call, REDIRECT, TestServer, USER},
};

/// A bound in a document and a request that reaches it.
struct Bound {
    file: &'static str,
    /// Where the schema is, below `/components/schemas`.
    schema: &'static str,
    lowest: Option<&'static str>,
    highest: Option<&'static str>,
    request: &'static str,
    /// Where in the body.
    at: &'static str,
    /// What a refusal calls the place.
    place: &'static str,
    /// A value that reaches so far.
    reach: fn(u64) -> Value,
}

fn letters(length: u64) -> Value {
    "a".repeat(usize::try_from(length).unwrap()).into()
}

fn digits(length: u64) -> Value {
    "9".repeat(usize::try_from(length).unwrap()).into()
}

fn url(length: u64) -> Value {
    let start = "https://app.example/";
    format!("{start}{:a<1$}", "", usize::try_from(length).unwrap().saturating_sub(start.len())).into()
}

fn local_url(length: u64) -> Value {
    let start = "http://127.0.0.1:9/";
    format!("{start}{:a<1$}", "", usize::try_from(length).unwrap().saturating_sub(start.len())).into()
}

fn many(one: Value, count: u64) -> Value {
    vec![one; usize::try_from(count).unwrap()].into()
}

fn owner(name: &str) -> Value {
    json!({"names": [name], "addresses": [], "phone_numbers": [], "emails": []})
}

/// Owners of so many bytes.
fn owners_of(bytes: u64) -> Value {
    let rest = json!([owner("")]).to_string().len() as u64;
    json!([owner(letters(bytes - rest).as_str().unwrap())])
}

fn account(id: &str) -> Value {
    json!({"account_id": id, "name": "A", "nickname": "", "type": "checking", "mask": "",
        "balances": {"currency": "USD", "available": 1, "current": 1, "limit": 1}})
}

/// A request that is right, with every field that has a bound.
fn right(request: &str) -> Value {
    let user = json!({"id": USER, "email": {"address": "a@b.example"}, "phone": {"number": "5550100"}});
    let custom = json!({"accounts": [{"account_type": "checking", "name": "A", "account_number": "1"}], "owners": []});
    let transaction =
        json!({"account_id": "1", "transaction_id": "t", "amount": "1", "date": "2026-01-01", "description": ""});
    match request {
        "session" => json!({"customer_user": user, "redirect_uri": REDIRECT, "webhook": "http://127.0.0.1:9/",
            "link_tags": ["a"], "custom_sandbox_data": custom}),
        "sandbox" => json!({"customer_user": user, "webhook": "http://127.0.0.1:9/", "link_tags": ["a"], "seed": 0,
            "username": "user_bad", "custom_sandbox_data": custom}),
        "update" => json!({"webhook": "http://127.0.0.1:9/", "link_tags": ["a"]}),
        "update by the old name" => json!({"tags": ["a"]}),
        "import" => json!({"customer_user": user, "institution_id": "credentials_bank", "accounts": [account("1")],
            "transactions": [transaction]}),
        "refresh" => json!({"products": ["identity"]}),
        "test event" => json!({"webhook_event": "link.state_changed", "webhook_idempotency_key": "k"}),
        "edits" => json!({"edits": [{"edit": "expire_consent"}]}),
        "rename" => json!({"edits": [{"edit": "rename_account", "account_id": "a", "name": "A"}]}),
        "numbers" => json!({"edits": [{"edit": "change_numbers", "account_id": "a", "account_number": "1",
            "routing_number": "123456789"}]}),
        "add" => json!({"edits": [{"edit": "add_transaction", "account_id": "a", "amount": "1", "type": "debit",
            "description": "A"}]}),
        "change" => json!({"edits": [{"edit": "change_transaction", "transaction_id": "t", "description": "A"}]}),
        "owners" => json!({"edits": [{"edit": "set_owners", "owners": []}]}),
        "replay" => json!({"event_ids": ["evt_1"]}),
        _ => panic!("no request {request}"),
    }
}

fn call(server: &TestServer, link: &str, request: &str, body: &Value) -> Call {
    let (method, path) = match request {
        "session" => ("POST", "/link-session".to_owned()),
        "sandbox" => ("POST", "/sandbox/links".to_owned()),
        "update" | "update by the old name" => ("PATCH", format!("/links/{link}")),
        "import" => ("POST", "/links/import".to_owned()),
        "refresh" => ("POST", format!("/links/{link}/products")),
        "test event" => ("POST", format!("/webhooks/test/link/{link}")),
        "replay" => ("POST", "/passbook/events/replay".to_owned()),
        _ => ("POST", format!("/sandbox/links/{link}/edits")),
    };
    server.call(&server.a, method, &path).json(body)
}

macro_rules! bounds {
    ($( $file:ident $schema:literal $lowest:expr, $highest:expr; $( $request:literal $at:literal $place:literal $reach:expr; )+ )+) => {
        vec![ $( $( Bound {
            file: $file, schema: $schema, lowest: $lowest, highest: $highest,
            request: $request, at: $at, place: $place, reach: $reach,
        }, )+ )+ ]
    };
}

const SHORTEST: Option<&str> = Some("minLength");
const LONGEST: Option<&str> = Some("maxLength");
const FEWEST: Option<&str> = Some("minItems");
const MOST: Option<&str> = Some("maxItems");

#[rustfmt::skip]
fn bounds() -> Vec<Bound> {
    bounds! {
        CONTRACT "CustomerUser/properties/id" SHORTEST, LONGEST;
            "session" "/customer_user/id" "body.customer_user.id" letters;
            "sandbox" "/customer_user/id" "body.customer_user.id" letters;
            "import" "/customer_user/id" "body.customer_user.id" letters;
        CONTRACT "CustomerUserEmail/properties/address" SHORTEST, LONGEST;
            "session" "/customer_user/email/address" "body.customer_user.email.address" letters;
        CONTRACT "CustomerUserPhone/properties/number" SHORTEST, LONGEST;
            "session" "/customer_user/phone/number" "body.customer_user.phone.number" digits;
        CONTRACT "CreateLinkSessionRequest/properties/redirect_uri" None, LONGEST;
            "session" "/redirect_uri" "body.redirect_uri" url;
        CONTRACT "CreateLinkSessionRequest/properties/webhook" None, LONGEST;
            "session" "/webhook" "body.webhook" local_url;
        CONTRACT "CreateLinkSessionRequest/properties/link_tags" None, MOST;
            "session" "/link_tags" "body.link_tags" |count| many(json!("a"), count);
        CONTRACT "CreateLinkSessionRequest/properties/link_tags/items" SHORTEST, LONGEST;
            "session" "/link_tags/0" "body.link_tags.0" letters;
        OWN "CreateSandboxLinkRequest/properties/webhook" None, LONGEST;
            "sandbox" "/webhook" "body.webhook" local_url;
        OWN "CreateSandboxLinkRequest/properties/link_tags" None, MOST;
            "sandbox" "/link_tags" "body.link_tags" |count| many(json!("a"), count);
        OWN "CreateSandboxLinkRequest/properties/link_tags/items" SHORTEST, LONGEST;
            "sandbox" "/link_tags/0" "body.link_tags.0" letters;
        CONTRACT "UpdateLinkRequest/properties/webhook" None, LONGEST;
            "update" "/webhook" "body.webhook" local_url;
        CONTRACT "UpdateLinkRequest/properties/link_tags" None, MOST;
            "update" "/link_tags" "body.link_tags" |count| many(json!("a"), count);
        CONTRACT "UpdateLinkRequest/properties/link_tags/items" SHORTEST, LONGEST;
            "update" "/link_tags/0" "body.link_tags.0" letters;
        CONTRACT "UpdateLinkRequest/properties/tags" None, MOST;
            "update by the old name" "/tags" "body.link_tags" |count| many(json!("a"), count);
        CONTRACT "UpdateLinkRequest/properties/tags/items" SHORTEST, LONGEST;
            "update by the old name" "/tags/0" "body.link_tags.0" letters;
        CONTRACT "CustomSandboxData/properties/accounts" None, MOST;
            "session" "/custom_sandbox_data/accounts" "body.custom_sandbox_data.accounts"
                |count| many(json!({"account_type": "checking", "name": "A", "account_number": "1"}), count);
        CONTRACT "CustomSandboxData/properties/owners" None, MOST;
            "session" "/custom_sandbox_data/owners" "body.custom_sandbox_data.owners" |count| many(owner("A"), count);
        CONTRACT "CustomSandboxData/properties/owners" None, Some("x-max-bytes");
            "session" "/custom_sandbox_data/owners" "body.custom_sandbox_data.owners" owners_of;
        CONTRACT "CustomSandboxAccount/properties/account_type" SHORTEST, LONGEST;
            "session" "/custom_sandbox_data/accounts/0/account_type" "body.custom_sandbox_data.accounts.0.account_type" letters;
        CONTRACT "CustomSandboxAccount/properties/name" SHORTEST, LONGEST;
            "sandbox" "/custom_sandbox_data/accounts/0/name" "body.custom_sandbox_data.accounts.0.name" letters;
        CONTRACT "CustomSandboxAccount/properties/account_number" SHORTEST, LONGEST;
            "sandbox" "/custom_sandbox_data/accounts/0/account_number" "body.custom_sandbox_data.accounts.0.account_number" digits;
        CONTRACT "ImportLinkRequest/properties/accounts" FEWEST, MOST;
            "import" "/accounts" "body.accounts"
                |count| (0..count).map(|n| account(&(n + 1).to_string())).collect();
        CONTRACT "AccountImportData/properties/account_id" SHORTEST, LONGEST;
            "import" "/accounts/0/account_id" "body.accounts.0.account_id" letters;
        CONTRACT "AccountImportData/properties/name" None, LONGEST;
            "import" "/accounts/0/name" "body.accounts.0.name" letters;
        CONTRACT "AccountImportData/properties/nickname" None, LONGEST;
            "import" "/accounts/0/nickname" "body.accounts.0.nickname" letters;
        CONTRACT "AccountImportData/properties/type" None, LONGEST;
            "import" "/accounts/0/type" "body.accounts.0.type" letters;
        CONTRACT "AccountImportData/properties/mask" None, LONGEST;
            "import" "/accounts/0/mask" "body.accounts.0.mask" letters;
        CONTRACT "AccountBalances/properties/currency" None, LONGEST;
            "import" "/accounts/0/balances/currency" "body.accounts.0.balances.currency" letters;
        CONTRACT "TransactionImportData/properties/transaction_id" SHORTEST, LONGEST;
            "import" "/transactions/0/transaction_id" "body.transactions.0.transaction_id" letters;
        CONTRACT "TransactionImportData/properties/description" None, LONGEST;
            "import" "/transactions/0/description" "body.transactions.0.description" letters;
        CONTRACT "TransactionImportData/properties/amount" None, Some("x-max-digits");
            "import" "/transactions/0/amount" "body.transactions.0.amount" digits;
        CONTRACT "RefreshProductsRequest/properties/products" FEWEST, None;
            "refresh" "/products" "body.products" |count| many(json!("identity"), count);
        CONTRACT "WebhookTestLinkRequest/properties/webhook_idempotency_key" SHORTEST, LONGEST;
            "test event" "/webhook_idempotency_key" "body.webhook_idempotency_key" letters;
        OWN "EditSandboxLinkRequest/properties/edits" FEWEST, MOST;
            "edits" "/edits" "body.edits" |count| many(json!({"edit": "expire_consent"}), count);
        OWN "EditAccountName/properties/name" SHORTEST, LONGEST;
            "rename" "/edits/0/name" "body.edits.0.name" letters;
        OWN "EditNumbers/properties/account_number" SHORTEST, LONGEST;
            "numbers" "/edits/0/account_number" "body.edits.0.account_number" digits;
        OWN "EditNumbers/properties/routing_number" SHORTEST, LONGEST;
            "numbers" "/edits/0/routing_number" "body.edits.0.routing_number" digits;
        OWN "EditAddTransaction/properties/description" SHORTEST, LONGEST;
            "add" "/edits/0/description" "body.edits.0.description" letters;
        OWN "EditChangeTransaction/properties/description" SHORTEST, LONGEST;
            "change" "/edits/0/description" "body.edits.0.description" letters;
        OWN "EditOwners/properties/owners" None, MOST;
            "owners" "/edits/0/owners" "body.edits.0.owners" |count| many(owner("A"), count);
        OWN "ReplayEvents/properties/event_ids" FEWEST, MOST;
            "replay" "/event_ids" "body.event_ids" |count| many(json!(EventId::from_bits(1).as_str()), count);
    }
}

#[tokio::test]
async fn the_documents_bounds_of_bodies_are_the_servers() {
    let server = TestServer::start().await;
    let link = server.link(&server.a).await;
    for bound in bounds() {
        let schemas = document(bound.file);
        let schema = schemas.pointer(&format!("/components/schemas/{}", bound.schema)).expect(bound.schema);
        let limit = |word: &str| schema[word].as_u64().unwrap_or_else(|| panic!("{}: no {word}", bound.schema));
        let mut cases = Vec::new();
        if let Some(word) = bound.lowest {
            cases.extend([(limit(word), true), (limit(word) - 1, false)]);
        }
        if let Some(word) = bound.highest {
            cases.extend([(limit(word), true), (limit(word) + 1, false)]);
        }
        for (reach, allowed) in cases {
            let mut body = right(bound.request);
            *body.pointer_mut(bound.at).expect(bound.at) = (bound.reach)(reach);
            let answer = call(&server, &link, bound.request, &body).send().await;
            let refused = answer.status == 422 && answer.places().iter().any(|place| place == bound.place);
            assert_eq!(refused, !allowed, "{} {} of {reach}: {}", bound.request, bound.schema, answer.text());
        }
    }
}

/// Bounds that are no lengths: each a request with the last value that passes and the first that does not.
#[tokio::test]
async fn the_documents_other_bounds_are_the_servers() {
    let server = TestServer::start().await;
    let link = server.link(&server.a).await;
    let own = document(OWN);
    let contract = document(CONTRACT);
    let refused_at =
        |answer: &Answer, place: &str| answer.status == 422 && answer.places().iter().any(|at| at == place);

    let amount = &own["components"]["schemas"]["EditAmount"];
    let signed = &own["components"]["schemas"]["EditSignedAmount"];
    assert_eq!((&amount["minimum"], &amount["exclusiveMaximum"]), (&json!(0), &signed["exclusiveMaximum"]));
    assert_eq!(signed["exclusiveMinimum"].as_i64(), signed["exclusiveMaximum"].as_i64().map(|bound| -bound));
    let most = amount["exclusiveMaximum"].as_i64().unwrap();
    for (text, allowed) in [(most - 1, true), (most, false), (0, true), (-1, false)] {
        let mut body = right("add");
        body["edits"][0]["amount"] = json!(text.to_string());
        let answer = call(&server, &link, "add", &body).send().await;
        assert_eq!(!refused_at(&answer, "body.edits.0.amount"), allowed, "{text}: {}", answer.text());
    }
    for (text, allowed) in [(most - 1, true), (most, false), (1 - most, true), (-most, false)] {
        let body = json!({"edits": [{"edit": "set_balance", "account_id": "a", "current": text.to_string()}]});
        let answer = call(&server, &link, "edits", &body).send().await;
        assert_eq!(!refused_at(&answer, "body.edits.0.current"), allowed, "{text}: {}", answer.text());
    }

    for name in ["available", "current", "limit"] {
        let property = &contract["components"]["schemas"]["AccountBalances"]["properties"][name];
        let digits = property["x-max-digits"].as_u64().unwrap();
        for (digits, allowed) in [(digits, true), (digits + 1, false)] {
            let body = right("import").to_string();
            let field = format!("\"{name}\":1");
            assert!(body.contains(&field));
            let body = body.replace(&field, &format!("\"{name}\":{}", "9".repeat(usize::try_from(digits).unwrap())));
            let call = server.call(&server.a, "POST", "/links/import").header("content-type", "application/json");
            let answer = call.body(body).send().await;
            assert_eq!(answer.status == 200, allowed, "{name} of {digits} digits: {}", answer.text());
        }
    }

    let seed = &own["components"]["schemas"]["CreateSandboxLinkRequest"]["properties"]["seed"];
    assert_eq!((seed["minimum"].as_u64(), seed["maximum"].as_u64()), (Some(0), Some(u64::MAX)));
    for (text, allowed) in [("18446744073709551615", true), ("18446744073709551616", false), ("-1", false)] {
        let body = right("sandbox").to_string().replace("\"seed\":0", &format!("\"seed\":{text}"));
        let call = server.call(&server.a, "POST", "/sandbox/links").header("content-type", "application/json");
        assert_eq!(call.body(body).send().await.status == 201, allowed, "{text}");
    }

    let clock = &own["components"]["schemas"]["SetSandboxClockRequest"]["properties"]["advance_seconds"];
    let least = clock["minimum"].as_i64().unwrap();
    for (seconds, status) in [(least - 1, 422), (least, 200)] {
        let body = json!({"advance_seconds": seconds});
        assert_eq!(server.post(&server.a, "/sandbox/clock", &body).await.status, status, "{seconds}");
    }

    let key = &contract["components"]["parameters"]["IdempotencyKey"]["schema"];
    let longest = usize::try_from(key["maxLength"].as_u64().unwrap()).unwrap();
    assert_eq!(key["minLength"], json!(1));
    for (length, allowed) in [(0, false), (1, true), (longest, true), (longest + 1, false)] {
        let call = call(&server, &link, "refresh", &right("refresh")).header("idempotency-key", &"k".repeat(length));
        assert_eq!(!refused_at(&call.send().await, "header.Idempotency-Key"), allowed, "{length}");
    }

    let form = &contract["paths"]["/auth/token"]["post"]["requestBody"]["content"]["application/x-www-form-urlencoded"];
    for name in ["client_id", "client_secret"] {
        let longest = usize::try_from(form["schema"]["properties"][name]["maxLength"].as_u64().unwrap()).unwrap();
        for (length, status) in [(longest, 401), (longest + 1, 400)] {
            let other = if name == "client_id" { "client_secret" } else { "client_id" };
            let form = format!("{other}=x&{name}={}", "a".repeat(length));
            assert_eq!(server.anonymous("POST", "/auth/token").form(&form).send().await.status, status, "{name}");
        }
    }
}

#[tokio::test]
async fn the_documents_bounds_of_query_parameters_are_the_servers() {
    let server = TestServer::start().await;
    let link = server.link(&server.a).await;
    let mut bounds = 0;
    for file in [CONTRACT, OWN] {
        let whole = document(file);
        for (method, path, operation) in operations(&whole) {
            // It reads the same parameters as the listing; its response has no end.
            if path == "/passbook/events/stream" {
                continue;
            }
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let parameter = resolved(&whole, parameter);
                let (name, schema) = (parameter["name"].as_str().unwrap(), &parameter["schema"]);
                if parameter["in"] != "query" {
                    continue;
                }
                let mut cases: Vec<(String, bool)> = Vec::new();
                for (word, allowed, refused) in [("minimum", 0, -1), ("maximum", 0, 1)] {
                    let bound = schema[word].as_u64().map(i128::from).or(schema[word].as_i64().map(i128::from));
                    if let Some(bound) = bound {
                        cases.extend([((bound + allowed).to_string(), true), ((bound + refused).to_string(), false)]);
                    }
                }
                for (word, refused) in [("minLength", -1), ("maxLength", 1)] {
                    if let Some(bound) = schema[word].as_i64() {
                        let text = |length: i64| "a".repeat(usize::try_from(length).unwrap());
                        cases.extend([(text(bound), true), (text(bound + refused), false)]);
                    }
                }
                for (value, allowed) in cases {
                    let id = if path.starts_with("/users") { USER } else { &link };
                    let target = format!("{}?{name}={value}", path.replace("{id}", id));
                    let answer = server.call(&server.a, &method, &target).body("no file").send().await;
                    let place = format!("query.{name}");
                    let refused = answer.status == 422 && answer.places().contains(&place);
                    assert_eq!(refused, !allowed, "{method} {target:.200}: {}", answer.text());
                    bounds += 1;
                }
            }
        }
    }
    assert!(bounds >= 40, "{bounds}");
}

#[tokio::test]
async fn no_body_may_be_larger_than_the_documents_say() {
    let server = TestServer::start().await;
    let link = server.link(&server.a).await;
    let mut with_body = 0;
    for file in [CONTRACT, OWN] {
        for (method, path, operation) in operations(&document(file)) {
            let Some(body) = operation.get("requestBody") else { continue };
            let most = usize::try_from(body["x-max-bytes"].as_u64().unwrap_or_else(|| panic!("{path}"))).unwrap();
            assert!(operation["responses"].get("413").is_some(), "{method} {path}");
            let target = path.replace("{id}", &link).replace("{txn_id}", "txn_1") + "?customer_user_id=abcd";
            for (length, allowed) in [(most, true), (most + 1, false)] {
                let answer = server.call(&server.a, &method, &target).body(vec![b' '; length]).send().await;
                assert_eq!(answer.status != 413, allowed, "{method} {path} of {length}: {}", answer.status);
            }
            with_body += 1;
        }
    }
    assert!(with_body >= 15, "{with_body}");
}

/// Where bounds are checked, and how often. A new one belongs into the documents and into the cases above.
#[test]
fn every_check_of_a_bound_is_known_here() {
    let counted = |file: &str, what: &str| {
        let path = format!("{}/src/api/{file}", env!("CARGO_MANIFEST_DIR"));
        let source = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let code = source.split("#[cfg(test)]").next().unwrap_or_default();
        code.matches(what).count()
    };
    let files = std::fs::read_dir(format!("{}/src/api", env!("CARGO_MANIFEST_DIR"))).expect("the sources");
    let mut found = Vec::new();
    for file in files {
        let name = file.expect("a file").file_name().into_string().expect("a name");
        if !name.ends_with(".rs") {
            continue;
        }
        let checks =
            (counted(&name, "problems.length("), counted(&name, "query.number("), counted(&name, ").contains(&"));
        if checks != (0, 0, 0) {
            found.push((name, checks));
        }
    }
    found.sort();
    let known = [
        ("body.rs", (0, 0, 1)),
        ("events.rs", (0, 2, 1)),
        ("idempotency.rs", (0, 0, 1)),
        ("import_file.rs", (0, 0, 1)),
        ("import_link.rs", (9, 0, 1)),
        ("institutions.rs", (0, 1, 0)),
        ("link_changes.rs", (1, 0, 0)),
        ("link_session_request.rs", (8, 0, 0)),
        ("links.rs", (0, 1, 0)),
        ("query.rs", (0, 2, 0)),
        ("sandbox_edits.rs", (1, 0, 2)),
        ("transactions_sync.rs", (0, 1, 0)),
    ];
    let found: Vec<_> = found.iter().map(|(name, checks)| (name.as_str(), *checks)).collect();
    assert_eq!(found, known);
}
