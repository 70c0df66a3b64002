//! Which account a statement is of: never the wrong one.

use serde_json::{Value, json};

use crate::support::{TestServer, USER};

/// A statement with one transaction of one checking account at one institution.
fn statement(org: &str, fid: &str, accounts: &[&str], amount: &str) -> Vec<u8> {
    let statements: String = accounts
        .iter()
        .map(|account| {
            format!(
                "<STMTTRNRS><TRNUID>0<STATUS><CODE>0<SEVERITY>INFO</STATUS><STMTRS><CURDEF>USD<BANKACCTFROM>\
                 <BANKID>021000021<ACCTID>{account}<ACCTTYPE>CHECKING</BANKACCTFROM><BANKTRANLIST><DTSTART>20240501\
                 <DTEND>20240531<STMTTRN><TRNTYPE>POS<DTPOSTED>20240502<TRNAMT>{amount}<FITID>1<NAME>SHOP</STMTTRN>\
                 </BANKTRANLIST><LEDGERBAL><BALAMT>1.00<DTASOF>20240601</LEDGERBAL></STMTRS></STMTTRNRS>"
            )
        })
        .collect();
    format!(
        "OFXHEADER:100\nDATA:OFXSGML\nVERSION:102\n\n<OFX><SIGNONMSGSRSV1><SONRS><STATUS><CODE>0<SEVERITY>INFO\
         </STATUS><DTSERVER>20240601<LANGUAGE>ENG<FI><ORG>{org}<FID>{fid}</FI></SONRS></SIGNONMSGSRSV1>\
         <BANKMSGSRSV1>{statements}</BANKMSGSRSV1></OFX>"
    )
    .into_bytes()
}

async fn numbers(server: &TestServer, id: &str) -> Vec<String> {
    let body = server.get(&server.a, &format!("/links/{id}/accounts/numbers")).await.ok(200);
    let accounts = body["accounts"].as_array().unwrap();
    let number = |account: &Value| account["numbers"]["ach"][0]["account_number"].as_str().unwrap().to_owned();
    accounts.iter().map(number).collect()
}

#[tokio::test]
async fn accounts_that_end_alike_stay_apart_whatever_the_order_of_files() {
    let server = TestServer::start().await;
    let one = statement("Larkspur", "7001", &["11111234"], "-1.00");
    let two = statement("Larkspur", "7001", &["22221234"], "-2.00");
    let first = server.import(&server.a, USER, &one).await.ok(201);
    let second = server.import(&server.a, USER, &two).await.ok(200);
    assert_eq!(first["link_id"], second["link_id"]);
    let id = first["link_id"].as_str().unwrap();
    assert_eq!(second["created"], 1, "the same FITID in another account is another transaction");
    assert_eq!(numbers(&server, id).await, ["11111234", "22221234"]);
    assert_eq!(server.import(&server.a, USER, &one).await.ok(200)["unchanged"], 1);
    assert_eq!(numbers(&server, id).await, ["11111234", "22221234"]);
}

#[tokio::test]
async fn institutions_whose_names_differ_only_in_signs_stay_apart() {
    let server = TestServer::start().await;
    let one = server.import(&server.a, USER, &statement("A-B", "1", &["11111234"], "-1.00")).await.ok(201);
    let two = server.import(&server.a, USER, &statement("A B", "2", &["22221234"], "-1.00")).await.ok(201);
    assert_ne!(one["link_id"], two["link_id"]);
    assert_ne!(one["link"]["institution_id"], two["link"]["institution_id"]);
}

#[tokio::test]
async fn a_file_with_more_accounts_than_a_link_holds_is_refused_whole() {
    let server = TestServer::start().await;
    let accounts: Vec<String> = (0..501).map(|n| format!("{:08}", 10_000_000 + n)).collect();
    let accounts: Vec<&str> = accounts.iter().map(String::as_str).collect();
    let file = statement("Larkspur", "7001", &accounts, "-1.00");
    server.import(&server.a, USER, &file).await.expect(422, "api_error.request.validation_failed");
    assert_eq!(server.get(&server.a, "/links").await.ok(200)["links"], json!([]));
}

#[tokio::test]
async fn a_bank_that_takes_a_file_link_over_keeps_it() {
    let server = TestServer::start().await;
    let file = statement("Larkspur", "7001", &["11111234"], "-1.00");
    let path = format!("/passbook/links/import-file?customer_user_id={USER}&institution_id=credentials_bank");
    let send = || async { server.call(&server.a, "POST", &path).body(file.clone()).send().await };
    let id = send().await.ok(201)["link_id"].as_str().unwrap().to_owned();
    let token = server.session_token(&server.a, json!({"existing_link_id": id})).await;
    server.complete(&server.a, &token, json!({})).await.ok(201);
    server.drain(&server.a).await;

    let link = server.get(&server.a, &format!("/links/{id}")).await.ok(200);
    assert_eq!(link["products"]["account_numbers"]["unavailable"], Value::Null);
    assert_eq!(numbers(&server, &id).await.len(), 2, "the bank's own accounts, fetched anew");
    let again = send().await.ok(201);
    assert_ne!(again["link_id"], id.as_str(), "a further file has a link of its own");
}
