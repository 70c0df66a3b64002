//! The built binary against a scripted server.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Command, Output},
    thread,
};

const LINK: &str = r#"{"link_id":"mk_1","institution_id":"credentials_bank","institution_name":"Credentials Bank","institution_avatar":"https://a.example/i.png","state":"connected","error_code":null,"last_synced_at":null,"provider":"moneykit","link_tags":["a","b"],"tags":["a","b"],"webhook":null,"products":{"account_numbers":{"refreshed_at":"2024-01-09T10:32:38.401223Z","last_attempted_at":null,"error_code":null,"error_message":null,"unavailable":null,"settings":null}},"available_products":[]}"#;

const ACCOUNT: &str = r#""account_id":"acc_1","account_type":"depository.checking","name":"Everyday","nickname":null,"account_mask":"6789","balances":{"currency":"USD","available":0.10,"current":12345678901234.56,"limit":null,"balance_date":null},"original_id":null,"closed":null"#;

/// Answers one request per connection, on threads that end with the test process.
fn start_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || answer(stream));
        }
    });
    url
}

fn answer(mut stream: TcpStream) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut request_line = String::new();
    reader.read_line(&mut request_line).ok()?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().split_once(": ") {
            None => break,
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.parse().ok()?,
            Some(_) => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let target = request_line.split(' ').nth(1)?;
    let (status, body) = reply(target, &String::from_utf8_lossy(&body));
    let head = format!("HTTP/1.1 {status} Scripted\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    stream.write_all((head + &body).as_bytes()).ok()
}

fn reply(target: &str, body: &str) -> (u16, String) {
    match target {
        "/auth/token" if !body.contains("client_secret=right") => {
            (401, r#"{"error_code":"api_error.auth.unauthorized","error_message":"Wrong\u001b[31m secret"}"#.to_owned())
        }
        "/auth/token" => (201, r#"{"access_token":"token-1","token_type":"bearer","expires_in":3600}"#.to_owned()),
        "/links" => {
            (200, r#"{"links":[{"link_id":"mk_1","created_at":"2024-01-09T10:32:38Z"}],"next_cursor":"c2"}"#.to_owned())
        }
        "/links?cursor=c2" => {
            (200, r#"{"links":[{"link_id":"mk_2","created_at":"2024-01-09T10:32:39Z"}],"next_cursor":""}"#.to_owned())
        }
        "/links/mk_1" => (200, LINK.to_owned()),
        "/links/mk_1/products" => (202, LINK.to_owned()),
        "/links/mk_1/accounts" => (200, format!(r#"{{"accounts":[{{{ACCOUNT}}}],"link":{LINK}}}"#)),
        "/links/mk_1/accounts/numbers" => {
            let numbers = r#"{"ach":[{"account_number":"000123456789","routing_number":"011401533","wire_routing_number":null}],"eft":[],"bacs":[],"international":[]}"#;
            (200, format!(r#"{{"accounts":[{{{ACCOUNT},"numbers":{numbers}}}],"link":{LINK}}}"#))
        }
        "/links/mk_1/transactions?account_ids=acc_1&size=2&start_date=2024-01-01" => {
            let transaction = r#"{"transaction_id":"txn_1","account_id":"acc_1","amount":"7.10","type":"debit","currency":"USD","date":"2024-01-09","datetime":null,"description":"Coffee","raw_description":null,"pending":true,"category":null,"enrichment":null,"original_id":null}"#;
            let head = r#""total":9,"page":1,"size":1"#;
            (200, format!(r#"{{{head},"transactions":[{transaction}],"accounts":[],"link":{LINK}}}"#))
        }
        "/institutions?name=cr&limit=1000" => (
            200,
            r#"{"institutions":[{"institution_id":"credentials_bank","institution_id_aliases":[],"name":"Credentials Bank","country":"US","is_featured":true}],"cursors":{"next":null}}"#
                .to_owned(),
        ),
        _ => (404, r#"{"error_code":"link_error.not_found","error_message":"Link not found."}"#.to_owned()),
    }
}

fn moneykit(url: &str, secret: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_moneykit"))
        .args(arguments)
        .env("MONEYKIT_BASE_URL", url)
        .env("MONEYKIT_CLIENT_ID", "sandbox_1")
        .env("MONEYKIT_CLIENT_SECRET", secret)
        .output()
        .unwrap()
}

#[track_caller]
fn stdout(url: &str, arguments: &[&str]) -> String {
    let output = moneykit(url, "right", arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn each_command_prints_its_table() {
    let url = start_server();
    assert_eq!(stdout(&url, &["token"]), "token-1\n");
    assert_eq!(
        stdout(&url, &["links", "list"]),
        "LINK  CREATED\nmk_1  2024-01-09T10:32:38Z\nmk_2  2024-01-09T10:32:39Z\n"
    );
    let link = "LINK  INSTITUTION       STATE      ERROR  TAGS\n\
                mk_1  Credentials Bank  connected  -      a,b\n\n\
                PRODUCT          REFRESHED                    LAST ATTEMPT  ERROR\n\
                account_numbers  2024-01-09T10:32:38.401223Z  -             -\n";
    assert_eq!(stdout(&url, &["links", "get", "mk_1"]), link);
    assert_eq!(stdout(&url, &["refresh", "mk_1", "account_numbers"]), link);
    assert_eq!(
        stdout(&url, &["accounts", "mk_1"]),
        "ACCOUNT  TYPE                 NAME      MASK  CURRENT            AVAILABLE  CURRENCY\n\
         acc_1    depository.checking  Everyday  6789  12345678901234.56  0.10       USD\n"
    );
    assert_eq!(
        stdout(&url, &["transactions", "mk_1", "--account", "acc_1", "--from", "2024-01-01", "--limit", "2"]),
        "DATE        AMOUNT  CURRENCY  ACCOUNT  DESCRIPTION\n\
         2024-01-09  -7.10   USD       acc_1    Coffee (pending)\n\
         1 of 9\n"
    );
    assert_eq!(
        stdout(&url, &["institutions", "cr"]),
        "INSTITUTION       NAME              COUNTRY  DOMAIN\ncredentials_bank  Credentials Bank  US       -\n"
    );
}

#[test]
fn full_numbers_are_shown_only_on_request() {
    let url = start_server();
    let masked = stdout(&url, &["numbers", "mk_1"]);
    assert_eq!(
        masked,
        "ACCOUNT  NAME      NETWORK  NUMBER    ROUTING\nacc_1    Everyday  ach      ****6789  011401533\n"
    );
    assert!(stdout(&url, &["numbers", "mk_1", "--reveal"]).contains("000123456789"));
    assert!(stdout(&url, &["--json", "numbers", "mk_1"]).contains(r#""account_number": "000123456789""#));
}

#[test]
fn json_keeps_amounts_exact() {
    let json = stdout(&start_server(), &["accounts", "mk_1", "--json"]);
    assert!(json.contains(r#""available": 0.10,"#) && json.contains(r#""current": 12345678901234.56,"#), "{json}");
}

#[test]
fn failures_are_told_on_standard_error() {
    let url = start_server();
    let output = moneykit(&url, "right", &["links", "get", "mk_404"]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "error: get_link: the server answered 404 link_error.not_found\n  Link not found.\n"
    );
    let output = moneykit(&url, "wrong-secret-value", &["accounts", "mk_1"]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("401 api_error.auth.unauthorized") && told.contains("Wrong\u{fffd}[31m secret"), "{told}");
    assert!(!told.contains("wrong-secret-value"));
    assert_eq!(moneykit(&url, "right", &["dance"]).status.code(), Some(2));
    assert!(moneykit("", "x", &["token"]).status.code() == Some(1));
}

#[test]
fn plain_http_needs_no_certificates() {
    let output = Command::new(env!("CARGO_BIN_EXE_moneykit"))
        .args(["--base-url", &start_server(), "--client-id", "sandbox_1", "--client-secret", "right", "token"])
        .env("SSL_CERT_FILE", "/nonexistent")
        .env("SSL_CERT_DIR", "/nonexistent")
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "token-1\n");
}

#[test]
fn help_does_not_show_the_secret_of_the_environment() {
    let output = moneykit("http://127.0.0.1:1", "wrong-secret-value", &["--help"]);
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(help.contains("MONEYKIT_CLIENT_SECRET") && !help.contains("wrong-secret-value"));
}
