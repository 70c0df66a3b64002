//! What each operation sends, and where.

use moneykit::{
    Client,
    api::{
        AccessTokenApi, AccountNumbersApi, AccountsApi, GetInstitutionsQuery, GetInvestmentTransactionsQuery,
        GetLinksQuery, GetTransactionsQuery, GetTransactionsSyncQuery, GetUserTransactionsQuery, IdentityApi,
        InstitutionsApi, InvestmentsApi, LinkSessionApi, LinksApi, ProductsApi, TransactionsApi, UsersApi, WebhooksApi,
    },
    http::Method,
    models::{
        AccountId, AccountImportData, BudCategory, BudPrimaryCategory, BudSubcategory, CreateLinkSessionRequest,
        ExchangeTokenRequest, ImportAmount, ImportLinkRequest, ImportTransactionsRequest, LinkId, Product,
        RefreshProductsRequest, TransactionImportData, UpdateLinkRequest, WebhookLinkTestEvent, WebhookTestLinkRequest,
    },
};

use crate::support::{CLIENT_ID, Reply, Server, connected_link};

/// A body that every operation can decode.
fn everything() -> String {
    let link = connected_link();
    let (_, link_fields) = link.split_once('{').unwrap();
    format!(
        r#"{{"link":{link},"accounts":[],"account":{{"account_id":"acc_1","account_type":"other","name":"n","balances":{{}}}},
            "total":0,"page":1,"size":0,"transactions":[],"links":[],"next_cursor":"","institutions":[],"cursors":{{}},
            "link_session_token":"t","client_id":"c","client_name":"n","scope":"","institution_id_aliases":[],
            "name":"n","country":"US","is_featured":true,
            "holdings":[],"securities":[],"investment_transactions":[],"cursor":{{}},"delivery_token":"d","keys":[],
            "access_token":"t","token_type":"bearer","expires_in":3600,
            "app":{{"app_id":"a","name":"n","id":"a","app_name":"n"}},{link_fields}"#
    )
}

/// Bodies that are of another shape than most.
fn shaped(target: &str) -> String {
    match target {
        "/users/user-1/links" | "/users/user-1/accounts" => r#"{"links":{}}"#.to_owned(),
        "/users/user-1/transactions" => r#"{"total":0,"page":1,"size":0,"transactions":[],"accounts":{}}"#.to_owned(),
        "/links/mk_1/transactions/sync" => everything().replacen(
            r#""transactions":[]"#,
            r#""has_more":false,"transactions":{"created":[],"updated":[],"removed":[]}"#,
            1,
        ),
        _ => everything(),
    }
}

fn import() -> ImportLinkRequest {
    let wages = ImportAmount::from_credit_positive("2500.00".parse().unwrap());
    ImportLinkRequest::new("user-1", "chase")
        .account(AccountImportData::new("a", "n", "checking"))
        .transaction(TransactionImportData::new("a", wages, "2024-01-09".parse::<jiff::civil::Date>().unwrap()))
}

/// Calls every operation once.
async fn call_everything(client: &Client) {
    let link = LinkId::from("mk_1");
    AccessTokenApi::new(client).create_access_token().await.unwrap();
    AccessTokenApi::new(client).instrospect_client().await.unwrap();
    AccessTokenApi::new(client).get_well_known_jwks().await.unwrap();
    let sessions = LinkSessionApi::new(client);
    sessions.create_link_session(&CreateLinkSessionRequest::new("user", "https://a")).await.unwrap();
    sessions.exchange_token(&ExchangeTokenRequest::new("x")).await.unwrap();
    let links = LinksApi::new(client);
    links.get_links(&GetLinksQuery::default()).await.unwrap();
    links.get_link(&link).await.unwrap();
    links.update_link(&link, &UpdateLinkRequest::new().without_webhook()).await.unwrap();
    links.delete_link(&link).await.unwrap();
    links.reset_link(&link).await.unwrap();
    links.import_link(&import()).await.unwrap();
    links.import_transactions(&link, &ImportTransactionsRequest::new(import().transactions)).await.unwrap();
    ProductsApi::new(client).refresh_products(&link, &RefreshProductsRequest::new([Product::Identity])).await.unwrap();
    AccountsApi::new(client).get_accounts(&link, &[]).await.unwrap();
    AccountsApi::new(client).get_account(&link, "acc_1").await.unwrap();
    AccountNumbersApi::new(client).get_account_numbers(&link).await.unwrap();
    IdentityApi::new(client).get_identities(&link, &[]).await.unwrap();
    let transactions = TransactionsApi::new(client);
    transactions.get_transactions(&link, &GetTransactionsQuery::default()).await.unwrap();
    transactions.get_transactions_sync(&link, &GetTransactionsSyncQuery::default()).await.unwrap();
    let coffee = BudCategory::new(BudPrimaryCategory::FoodAndDrink).subcategory(BudSubcategory::Coffee);
    transactions.correct_enrichment(&link, "txn_1", &coffee).await.unwrap();
    let investments = InvestmentsApi::new(client);
    investments.get_holdings(&link, &[]).await.unwrap();
    investments.get_investment_transactions(&link, &GetInvestmentTransactionsQuery::default()).await.unwrap();
    let users = UsersApi::new(client);
    users.get_user_links("user-1").await.unwrap();
    users.get_user_accounts("user-1", &[]).await.unwrap();
    users.get_user_transactions("user-1", &GetUserTransactionsQuery::default()).await.unwrap();
    let event = WebhookTestLinkRequest::new(WebhookLinkTestEvent::LinkStateChanged, "key-1");
    WebhooksApi::new(client).trigger_test_link_webhook_event(&link, &event).await.unwrap();
    InstitutionsApi::new(client).get_institutions(&GetInstitutionsQuery::default()).await.unwrap();
    InstitutionsApi::new(client).get_institution("chase").await.unwrap();
}

/// Every operation of the contract as method and path.
fn operations() -> Vec<(String, String)> {
    let contract = include_str!("../../../../contract/openapi.yaml");
    let (mut operations, mut path) = (Vec::new(), "");
    for line in contract.lines().skip_while(|line| *line != "paths:").skip(1) {
        if !line.starts_with(' ') {
            break;
        }
        if let Some(found) = line.strip_prefix("  /").and_then(|line| line.strip_suffix(':')) {
            path = found;
        }
        let method = line.strip_prefix("    ").and_then(|line| line.strip_suffix(':'));
        if let Some(method) = method.filter(|method| ["get", "post", "patch", "put", "delete"].contains(method)) {
            operations.push((method.to_uppercase(), path.to_owned()));
        }
    }
    operations
}

fn is_of(call: &(String, String), operation: &(String, String)) -> bool {
    let (path, template): (Vec<_>, Vec<_>) = (call.1.split('/').collect(), operation.1.split('/').collect());
    let same = |(part, template): (&&str, &&str)| template.starts_with('{') || part == template;
    call.0 == operation.0 && path.len() == template.len() && path.iter().zip(&template).all(same)
}

#[tokio::test(start_paused = true)]
async fn each_operation_of_the_contract_is_called_at_its_method_and_path() {
    let server = Server::start_with_tokens(|request| match request.method.as_str() {
        "DELETE" => Reply::json(204, ""),
        _ => Reply::json(200, shaped(&request.target)),
    })
    .await;
    call_everything(&server.client()).await;
    let operations = operations();
    assert_eq!(operations.len(), 28);
    let calls: Vec<_> = server
        .calls()
        .iter()
        .chain(&server.token_calls()[..1])
        .map(|call| (call.method.clone(), call.target.trim_start_matches('/').to_owned()))
        .collect();
    assert_eq!(calls.len(), operations.len());
    for operation in &operations {
        assert!(calls.iter().any(|call| is_of(call, operation)), "nobody called {operation:?}");
    }
    for call in &calls {
        assert!(operations.iter().any(|operation| is_of(call, operation)), "not in the contract: {call:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn bodies_are_sent_as_the_contract_spells_them() {
    let server = Server::start_with_tokens(|request| match request.method.as_str() {
        "DELETE" => Reply::json(204, ""),
        _ => Reply::json(200, shaped(&request.target)),
    })
    .await;
    call_everything(&server.client()).await;
    let body_of = |method: &str, target: &str| {
        let calls = server.calls();
        let found = calls.iter().find(|call| call.method == method && call.target == target).unwrap();
        found.body.clone()
    };
    assert_eq!(body_of("PATCH", "/links/mk_1"), r#"{"webhook":null}"#);
    assert_eq!(body_of("POST", "/links/mk_1/reset"), "");
    let transaction = r#"{"account_id":"a","transaction_id":null,"amount":"2500.00","date":"2024-01-09","description":null,"type":null}"#;
    assert_eq!(body_of("POST", "/links/mk_1/import/transactions"), format!(r#"{{"transactions":[{transaction}]}}"#));
    assert!(body_of("POST", "/links/import").ends_with(&format!(r#""transactions":[{transaction}]}}"#)));
    assert_eq!(
        body_of("POST", "/links/mk_1/transactions/txn_1/enrichment"),
        r#"{"category":"food_and_drink","subcategory":"coffee"}"#
    );
    assert_eq!(
        body_of("POST", "/webhooks/test/link/mk_1"),
        r#"{"webhook_event":"link.state_changed","webhook_idempotency_key":"key-1"}"#
    );
}

#[tokio::test(start_paused = true)]
async fn the_official_sdks_other_places_of_an_operation_exist() {
    let server = Server::start_with_tokens(|request| Reply::json(200, shaped(&request.target))).await;
    let client = server.client();
    client.links().get_user_links("user-1").await.unwrap();
    client.accounts().get_user_accounts("user-1", &[]).await.unwrap();
    client.accounts().get_account_numbers("mk_1").await.unwrap();
    client.transactions().get_user_transactions("user-1", &GetUserTransactionsQuery::new()).await.unwrap();
    let targets: Vec<_> = server.calls().into_iter().map(|call| call.target).collect();
    assert_eq!(
        targets,
        ["/users/user-1/links", "/users/user-1/accounts", "/links/mk_1/accounts/numbers", "/users/user-1/transactions"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_method_of_its_own_is_made_like_all_others() {
    let server = Server::start_with_tokens(|request| match request.target.as_str() {
        "/sandbox/clock" => Reply::json(200, r#"{"now":"2024-01-09"}"#),
        "/links/..%2Fmk_1?a=b&a=c%26d" => Reply::json(200, connected_link()),
        _ => Reply::error(404, "api_error.not_found", "no"),
    })
    .await;
    let client = server.client();
    let body = serde_json::json!({ "advance_seconds": 3600 });
    let answer = client.request(Method::POST, "/sandbox/clock").json(&body).send().await.unwrap();
    assert_eq!((answer.status.as_u16(), &answer.data[..]), (200, &br#"{"now":"2024-01-09"}"#[..]));
    let request = client.request(Method::GET, "links").segment("../mk_1").query("a", "b").query("a", "c&d");
    let link: moneykit::models::LinkCommon = request.send_json().await.unwrap().data;
    assert_eq!(link.link_id, LinkId::from("mk_1"));
    let calls = server.calls();
    assert_eq!(
        (calls[0].body.as_str(), calls[0].header("content-type")),
        (r#"{"advance_seconds":3600}"#, Some("application/json"))
    );
    assert!(calls.iter().all(|call| call.header("authorization") == Some("Bearer token-1")));

    let error = client.request(Method::GET, "/unknown").send().await.unwrap_err();
    assert_eq!(error.error_code(), Some("api_error.not_found"));
    for path in ["/links/../institutions", "/links//x", ""] {
        let error = client.request(Method::GET, path).send().await.unwrap_err();
        assert!(error.status().is_none(), "{path}");
    }
    assert_eq!(server.calls().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn queries_are_sent_only_when_set_and_repeat_their_key() {
    let server =
        Server::start_with_tokens(|request| Reply::json(200, shaped(request.target.split('?').next().unwrap()))).await;
    let client = server.client();
    let account_ids = vec![AccountId::from("acc_1"), AccountId::from("a&c=2")];
    client.accounts().get_accounts("mk_1", &account_ids).await.unwrap();
    let query = GetTransactionsQuery {
        account_ids,
        page: Some(2),
        size: Some(100),
        start_date: Some("2024-01-01".parse().unwrap()),
        end_date: Some("2024-01-31".parse().unwrap()),
    };
    client.transactions().get_transactions("mk_1", &query).await.unwrap();
    let query = GetLinksQuery { cursor: Some("c=/+".to_owned()), limit: Some(500) };
    client.links().get_links(&query).await.unwrap();
    let query = GetTransactionsSyncQuery::new().cursor("c=/+").size(500_u64);
    client.transactions().get_transactions_sync("mk_1", &query).await.unwrap();
    let query = GetUserTransactionsQuery::new().account_ids(["acc_1", "acc_2"]).page(2_u64);
    client.users().get_user_transactions("user-1", &query).await.unwrap();
    let query = GetInvestmentTransactionsQuery::new().account_ids(["acc_1"]).size(7_u64);
    client.investments().get_investment_transactions("mk_1", &query).await.unwrap();
    let query = GetInstitutionsQuery { name: Some("cré".to_owned()), featured: Some(true), ..Default::default() };
    client.institutions().get_institutions(&query).await.unwrap();
    let targets: Vec<_> = server.calls().into_iter().map(|call| call.target).collect();
    assert_eq!(
        targets,
        [
            "/links/mk_1/accounts?account_ids=acc_1&account_ids=a%26c%3D2",
            "/links/mk_1/transactions?account_ids=acc_1&account_ids=a%26c%3D2&page=2&size=100&start_date=2024-01-01\
             &end_date=2024-01-31",
            "/links?cursor=c%3D%2F%2B&limit=500",
            "/links/mk_1/transactions/sync?cursor=c%3D%2F%2B&size=500",
            "/users/user-1/transactions?account_id=acc_1&account_id=acc_2&page=2",
            "/links/mk_1/investments/transactions?size=7&account_ids=acc_1",
            "/institutions?name=cr%C3%A9&featured=true",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_strange_id_cannot_change_the_path() {
    let server = Server::start_with_tokens(|_| Reply::json(200, everything())).await;
    let numbers = server.client().account_numbers();
    for id in ["../institutions", "a/../../b", "%00", "a?b=c", "a#b", "a b", "\r\nX-Evil: 1", "..%2f"] {
        numbers.get_account_numbers(id).await.unwrap();
    }
    for id in ["", ".", ".."] {
        let error = numbers.get_account_numbers(id).await.unwrap_err();
        assert!(error.status().is_none() && !error.is_retryable());
    }
    let calls = server.calls();
    assert_eq!(calls.len(), 8);
    for call in calls {
        let id = call.target.strip_prefix("/links/").unwrap().strip_suffix("/accounts/numbers").unwrap();
        assert!(!id.contains(['/', '?', '#', ' ']), "{id}");
        assert_eq!(call.header("x-evil"), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_base_path_is_kept() {
    let server = Server::start(|_| Reply::json(200, connected_link())).await;
    for base in ["/bank/api", "/bank/api/"] {
        let url = format!("{}{base}", server.url);
        let client = moneykit::Client::builder().base_url(url).access_token("t").version("").build().unwrap();
        client.links().get_link("mk_1").await.unwrap();
    }
    for call in server.calls() {
        assert_eq!(call.target, "/bank/api/links/mk_1");
        assert_eq!(call.header("moneykit-version"), Some(""));
    }
}

#[tokio::test(start_paused = true)]
async fn with_http_info_gives_status_and_headers() {
    let server = Server::start_with_tokens(|request| match request.method.as_str() {
        "DELETE" => Reply::json(204, "").header("X-Request-Id", "req-1"),
        _ => Reply::json(200, everything()).header("X-Request-Id", "req-2"),
    })
    .await;
    let client = server.client();
    let deleted = client.links().delete_link_with_http_info("mk_1").await.unwrap();
    assert_eq!((deleted.status.as_u16(), &deleted.headers["x-request-id"]), (204, &"req-1".parse().unwrap()));
    let numbers = client.account_numbers().get_account_numbers_with_http_info("mk_1").await.unwrap();
    assert_eq!((numbers.status.as_u16(), &numbers.headers["x-request-id"]), (200, &"req-2".parse().unwrap()));
    assert_eq!(numbers.data.link.link_id, LinkId::from("mk_1"));
}

#[tokio::test(start_paused = true)]
async fn scope_and_credentials_are_form_encoded() {
    let server = Server::start_with_tokens(|_| Reply::json(200, everything())).await;
    let client =
        server.builder().client_credentials(CLIENT_ID, "a&b=c d").scope("links account_numbers").build().unwrap();
    client.access_token().create_access_token().await.unwrap();
    assert_eq!(
        server.token_calls()[0].body,
        format!(
            "grant_type=client_credentials&scope=links+account_numbers&client_id={CLIENT_ID}&client_secret=a%26b%3Dc+d"
        )
    );
}
