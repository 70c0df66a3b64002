//! What each operation sends, and where.

use moneykit::{
    api::{
        AccessTokenApi, AccountNumbersApi, AccountsApi, GetInstitutionsQuery, GetLinksQuery, GetTransactionsQuery,
        IdentityApi, InstitutionsApi, LinkSessionApi, LinksApi, ProductsApi, TransactionsApi,
    },
    models::{AccountId, CreateLinkSessionRequest, ExchangeTokenRequest, LinkId, Product, RefreshProductsRequest},
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
            "app":{{"app_id":"a","name":"n","id":"a","app_name":"n"}},{link_fields}"#
    )
}

#[tokio::test(start_paused = true)]
async fn each_operation_uses_its_method_and_path() {
    let server = Server::start_with_tokens(|_| Reply::json(200, everything())).await;
    let client = server.client();
    let link = LinkId::from("mk_1");
    AccessTokenApi::new(&client).instrospect_client().await.unwrap();
    LinkSessionApi::new(&client)
        .create_link_session(&CreateLinkSessionRequest::new("user", "https://a"))
        .await
        .unwrap();
    LinkSessionApi::new(&client).exchange_token(&ExchangeTokenRequest::new("x")).await.unwrap();
    LinksApi::new(&client).get_links(&GetLinksQuery::default()).await.unwrap();
    LinksApi::new(&client).get_link(&link).await.unwrap();
    ProductsApi::new(&client).refresh_products(&link, &RefreshProductsRequest::new([Product::Identity])).await.unwrap();
    AccountsApi::new(&client).get_accounts(&link, &[]).await.unwrap();
    AccountsApi::new(&client).get_account(&link, "acc_1").await.unwrap();
    AccountNumbersApi::new(&client).get_account_numbers(&link).await.unwrap();
    IdentityApi::new(&client).get_identities(&link, &[]).await.unwrap();
    TransactionsApi::new(&client).get_transactions(&link, &GetTransactionsQuery::default()).await.unwrap();
    InstitutionsApi::new(&client).get_institutions(&GetInstitutionsQuery::default()).await.unwrap();
    InstitutionsApi::new(&client).get_institution("chase").await.unwrap();
    let lines: Vec<_> = server.calls().iter().map(|call| format!("{} {}", call.method, call.target)).collect();
    assert_eq!(
        lines,
        [
            "GET /auth/introspect",
            "POST /link-session",
            "POST /link-session/exchange-token",
            "GET /links",
            "GET /links/mk_1",
            "POST /links/mk_1/products",
            "GET /links/mk_1/accounts",
            "GET /links/mk_1/accounts/acc_1",
            "GET /links/mk_1/accounts/numbers",
            "GET /links/mk_1/identity",
            "GET /links/mk_1/transactions",
            "GET /institutions",
            "GET /institutions/chase",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn queries_are_sent_only_when_set_and_repeat_their_key() {
    let server = Server::start_with_tokens(|_| Reply::json(200, everything())).await;
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
    let query = GetInstitutionsQuery { name: Some("cré".to_owned()), featured: true, ..Default::default() };
    client.institutions().get_institutions(&query).await.unwrap();
    let targets: Vec<_> = server.calls().into_iter().map(|call| call.target).collect();
    assert_eq!(
        targets,
        [
            "/links/mk_1/accounts?account_ids=acc_1&account_ids=a%26c%3D2",
            "/links/mk_1/transactions?account_ids=acc_1&account_ids=a%26c%3D2&page=2&size=100&start_date=2024-01-01\
             &end_date=2024-01-31",
            "/links?cursor=c%3D%2F%2B&limit=500",
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
