//! `POST /passbook/links/import-file`.

use serde_json::{Value, json};

use crate::support::{Answer, TestServer, USER, fixture, text};

const VALIDATION: &str = "api_error.request.validation_failed";

/// A statement of one checking account: rows of day in May 2024, amount and bank id, then the balance of a day in June.
fn statement(rows: &[(u8, &str, &str)], balance: &str, june: u8) -> Vec<u8> {
    let rows: String = rows
        .iter()
        .map(|(day, amount, id)| {
            format!("<STMTTRN><TRNTYPE>POS<DTPOSTED>202405{day:02}<TRNAMT>{amount}<FITID>{id}<NAME>SHOP {id}</STMTTRN>")
        })
        .collect();
    format!(
        "OFXHEADER:100\nDATA:OFXSGML\nVERSION:102\nSECURITY:NONE\nENCODING:USASCII\nCHARSET:1252\nCOMPRESSION:NONE\n\
         OLDFILEUID:NONE\nNEWFILEUID:NONE\n\n<OFX><SIGNONMSGSRSV1><SONRS><STATUS><CODE>0<SEVERITY>INFO</STATUS>\
         <DTSERVER>20240601<LANGUAGE>ENG<FI><ORG>Larkspur Bank<FID>7001</FI></SONRS></SIGNONMSGSRSV1><BANKMSGSRSV1>\
         <STMTTRNRS><TRNUID>0<STATUS><CODE>0<SEVERITY>INFO</STATUS><STMTRS><CURDEF>USD<BANKACCTFROM><BANKID>021000021\
         <ACCTID>1000200030<ACCTTYPE>CHECKING</BANKACCTFROM><BANKTRANLIST><DTSTART>20240501<DTEND>20240531{rows}\
         </BANKTRANLIST><LEDGERBAL><BALAMT>{balance}<DTASOF>202406{june:02}</LEDGERBAL></STMTRS></STMTTRNRS>\
         </BANKMSGSRSV1></OFX>"
    )
    .into_bytes()
}

/// Created, updated, removed, unchanged.
fn counts(body: &Value) -> [u64; 4] {
    ["created", "updated", "removed", "unchanged"].map(|name| body[name].as_u64().unwrap())
}

async fn total(server: &TestServer, id: &str) -> u64 {
    server.get(&server.a, &format!("/links/{id}/transactions")).await.ok(200)["total"].as_u64().unwrap()
}

async fn balance(server: &TestServer, id: &str) -> Value {
    server.get(&server.a, &format!("/links/{id}/accounts")).await.ok(200)["accounts"][0]["balances"].clone()
}

async fn import(server: &TestServer, file: &[u8]) -> Answer {
    server.import(&server.a, USER, file).await
}

#[tokio::test]
async fn a_file_becomes_a_connected_link_with_its_numbers() {
    let server = TestServer::start().await;
    let body = import(&server, &fixture("plain_sgml_crlf.ofx")).await.ok(201);
    assert_eq!((counts(&body), &body["notes"]), ([3, 0, 0, 0], &json!([])));
    let id = text(&body["link_id"]);
    let link = server.get(&server.a, &format!("/links/{id}")).await.ok(200);
    assert_eq!((&body["link"], &link["state"]), (&link, &json!("connected")));
    assert_eq!(link["institution_name"], "Larkspur Bank");
    let numbers = server.get(&server.a, &format!("/links/{id}/accounts/numbers")).await.ok(200);
    let ach = json!([{"account_number": "1000200030", "routing_number": "021000021", "wire_routing_number": null}]);
    assert_eq!(numbers["accounts"][0]["numbers"], json!({"ach": ach, "eft": [], "bacs": [], "international": []}));
    let listed = server.get(&server.a, "/links").await.ok(200);
    assert_eq!(listed["links"][0]["link_id"], json!(id));
}

#[tokio::test]
async fn the_same_file_twice_changes_nothing() {
    let server = TestServer::start().await;
    for name in [
        "plain_sgml_crlf.ofx",
        "mixed_accounts_two_statements.ofx",
        "correction_replace_delete.ofx",
        "missing_fitid.ofx",
    ] {
        let user = name.replace('.', "_");
        let first = server.import(&server.a, &user, &fixture(name)).await.ok(201);
        let id = text(&first["link_id"]);
        let before = server.get(&server.a, &format!("/links/{id}")).await.body;
        server.advance(60);
        let second = server.import(&server.a, &user, &fixture(name)).await.ok(200);
        let [created, updated, removed, unchanged] = counts(&second);
        assert_eq!([created, updated, removed], [0; 3], "{name}");
        assert_eq!((unchanged, text(&second["link_id"])), (total(&server, &id).await, id.clone()), "{name}");
        assert_eq!(server.get(&server.a, &format!("/links/{id}")).await.body, before, "{name}");
    }
}

#[tokio::test]
async fn a_newer_file_extends_and_an_older_one_turns_nothing_back() {
    let server = TestServer::start().await;
    let may = statement(&[(1, "-1.00", "a"), (2, "-2.00", "b")], "100.00", 1);
    let june = statement(&[(2, "-2.00", "b"), (3, "-3.50", "c")], "96.50", 2);
    let first = import(&server, &may).await.ok(201);
    let id = text(&first["link_id"]);
    assert_eq!(counts(&import(&server, &june).await.ok(200)), [1, 0, 0, 1]);
    assert_eq!((balance(&server, &id).await["current"].as_f64(), total(&server, &id).await), (Some(96.5), 3));
    let after = server.get(&server.a, &format!("/links/{id}/accounts")).await.ok(200)["accounts"].clone();
    assert_eq!(counts(&import(&server, &may).await.ok(200)), [0, 0, 0, 2]);
    let older = statement(&[(1, "-1.00", "a"), (1, "-9.00", "z")], "101.00", 1);
    assert_eq!(counts(&import(&server, &older).await.ok(200)), [1, 0, 0, 1], "an older file may fill a gap");
    let still = server.get(&server.a, &format!("/links/{id}/accounts")).await.ok(200)["accounts"].clone();
    assert_eq!((still, total(&server, &id).await), (after, 4));
}

#[tokio::test]
async fn users_apps_environments_and_institutions_keep_their_files_apart() {
    let server = TestServer::start().await;
    let file = fixture("plain_sgml_crlf.ofx");
    let mut ids = Vec::new();
    for (client, user) in [(&server.a, USER), (&server.b, USER), (&server.live, USER), (&server.a, "user-0002")] {
        let body = server.import(client, user, &file).await.ok(201);
        assert_eq!(counts(&body), [3, 0, 0, 0]);
        ids.push(text(&body["link_id"]));
    }
    let chosen = format!("/passbook/links/import-file?customer_user_id={USER}&institution_id=instant_bank");
    let body = server.call(&server.a, "POST", &chosen).body(file).send().await.ok(201);
    assert_eq!(body["link"]["institution_id"], "instant_bank");
    ids.push(text(&body["link_id"]));
    let unique: std::collections::HashSet<_> = ids.iter().collect();
    assert_eq!(unique.len(), ids.len());
    server.get(&server.b, &format!("/links/{}", ids[0])).await.expect(404, "link_error.not_found");
}

#[tokio::test]
async fn every_good_fixture_is_imported_and_every_bad_one_refused_at_the_body() {
    let server = TestServer::start().await;
    let directory = format!("{}/../passbook-connectors/tests/fixtures/ofx", env!("CARGO_MANIFEST_DIR"));
    let (mut good, mut bad) = (0, 0);
    for entry in std::fs::read_dir(directory).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !["ofx", "qfx", "qbo"].iter().any(|extension| name.ends_with(&format!(".{extension}"))) {
            continue;
        }
        let answer = server.import(&server.a, &name, &fixture(&name)).await;
        if name.starts_with("refused_") {
            assert_eq!(answer.expect(422, VALIDATION).places(), ["body"], "{name}");
            assert_eq!(answer.json()["validation_errors"][0]["type"], "value_error.statement_file");
            bad += 1;
        } else {
            assert_eq!(answer.status, 201, "{name}: {}", answer.text());
            good += 1;
        }
    }
    assert!(good > 20 && bad > 4, "{good} {bad}");
    assert_eq!(server.get(&server.a, "/links").await.ok(200)["links"].as_array().unwrap().len(), good);
}

#[tokio::test]
async fn garbage_and_bad_parameters_are_422_and_leave_no_link() {
    let server = TestServer::start().await;
    let garbage: [&[u8]; 7] = [
        b"",
        b"\0",
        b"<OFX>",
        b"{\"accounts\":[]}",
        b"%PDF-1.7",
        &[0xff; 4_096],
        b"<?xml version=\"1.0\"?><!DOCTYPE x [<!ENTITY a \"b\">]><OFX>&a;</OFX>",
    ];
    for file in garbage {
        import(&server, file).await.expect(422, VALIDATION);
    }
    let file = fixture("plain_sgml_crlf.ofx");
    for (query, place) in [
        ("", "query.customer_user_id"),
        ("customer_user_id=", "query.customer_user_id"),
        ("customer_user_id=abc", "query.customer_user_id"),
        (&format!("customer_user_id={}", "x".repeat(151)), "query.customer_user_id"),
        ("customer_user_id=user-0001&institution_id=nobody", "query.institution_id"),
        ("customer_user_id=user-0001&institution_id=", "query.institution_id"),
    ] {
        let call = server.call(&server.a, "POST", &format!("/passbook/links/import-file?{query}"));
        assert_eq!(call.body(file.clone()).send().await.expect(422, VALIDATION).places(), [place], "{query}");
    }
    assert_eq!(server.get(&server.a, "/links").await.ok(200)["links"], json!([]));
}

#[tokio::test]
async fn sixteen_mebibytes_are_read_and_a_byte_more_is_not() {
    let server = TestServer::start().await;
    let mut file = vec![b' '; 16 << 20];
    import(&server, &file).await.expect(422, VALIDATION);
    file.push(b' ');
    import(&server, &file).await.expect(413, VALIDATION);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_eight_first_imports_at_once_one_makes_the_link_and_no_row_is_doubled() {
    let server = TestServer::start().await;
    let path = format!("/passbook/links/import-file?customer_user_id={USER}");
    let call = server.call(&server.a, "POST", &path).body(fixture("plain_sgml_crlf.ofx"));
    let calls: Vec<_> = (0..8).map(|_| tokio::spawn(call.clone().send())).collect();
    let (mut new, mut sums, mut ids) = (0, [0; 4], std::collections::HashSet::new());
    for call in calls {
        let answer = call.await.unwrap();
        assert!(answer.status == 201 || answer.status == 200, "{}", answer.text());
        new += usize::from(answer.status == 201);
        let body = answer.json();
        counts(&body).iter().zip(&mut sums).for_each(|(count, sum)| *sum += count);
        ids.insert(text(&body["link_id"]));
    }
    assert_eq!((new, sums, ids.len()), (1, [3, 0, 0, 21], 1));
    assert_eq!(total(&server, ids.iter().next().unwrap()).await, 3);
    assert_eq!(server.get(&server.a, "/links").await.ok(200)["links"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn after_a_delete_the_same_file_makes_a_new_link() {
    let server = TestServer::start().await;
    let file = fixture("plain_sgml_crlf.ofx");
    let first = text(&import(&server, &file).await.ok(201)["link_id"]);
    assert_eq!(server.delete(&server.a, &format!("/links/{first}")).await.status, 204);
    let second = import(&server, &file).await.ok(201);
    assert_ne!(text(&second["link_id"]), first);
    assert_eq!(counts(&second), [3, 0, 0, 0]);
}
