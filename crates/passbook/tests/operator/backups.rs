//! Backups of a store that serves, and putting them back.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use reqwest::Method;

use crate::server::{Home, Server, passbook, text, wait_until};

/// A directory into which a backup may be restored: empty but for the master key.
fn target(home: &Home, name: &str) -> PathBuf {
    let data = home.path(name);
    std::fs::create_dir(&data).unwrap();
    std::fs::copy(home.data().join("master.key"), data.join("master.key")).unwrap();
    data
}

fn restore(from: &Path, data: &Path, rest: &[&str]) -> Result<String, String> {
    let output = passbook().args(["restore", "--from"]).arg(from).arg("--data").arg(data).args(rest).output().unwrap();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

fn back_up(home: &Home, name: &str) -> PathBuf {
    let path = home.path(name);
    home.ask(&["backup", "--to", path.to_str().unwrap()]);
    path
}

async fn link_status(server: &Server, link: &str) -> Option<u16> {
    server.status_of(Method::GET, &format!("/links/{link}/accounts/numbers")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backups_under_writes_hold_everything_acknowledged_before_they_began() {
    let home = Home::new();
    let server = Arc::new(home.start().await);
    let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
    let writers: Vec<_> = (0..3)
        .map(|writer| {
            let (server, stop, acknowledged) = (server.clone(), stop.clone(), acknowledged.clone());
            tokio::spawn(async move {
                let mut written = 0;
                while !stop.load(Ordering::Acquire) {
                    let link = server.make_link(&format!("writer-{writer}-{written}")).await.expect("a link");
                    acknowledged.lock().unwrap().push(link);
                    written += 1;
                }
            })
        })
        .collect();
    let mut backups = Vec::new();
    for number in 0..3 {
        let before = acknowledged.lock().unwrap().len();
        wait_until("more is written", async || acknowledged.lock().unwrap().len() >= before + 5).await;
        let known = acknowledged.lock().unwrap().clone();
        backups.push((back_up(&home, &format!("backup-{number}")), known));
    }
    stop.store(true, Ordering::Release);
    for writer in writers {
        writer.await.unwrap();
    }
    for (number, (backup, known)) in backups.into_iter().enumerate() {
        let data = target(&home, &format!("restored-{number}"));
        let ledger = home.data().join("deletions.ledger");
        restore(&backup, &data, &["--deletions", ledger.to_str().unwrap()]).unwrap();
        let restored = home.start_on(&data).await;
        for link in &known {
            assert_eq!(link_status(&restored, link).await, Some(200), "{link} in backup {number}");
        }
        restored.stop();
    }
}

#[tokio::test]
async fn links_that_were_deleted_since_stay_deleted() {
    let home = Home::new();
    let server = home.start().await;
    let link = server.make_link("user").await.unwrap();
    let backup = back_up(&home, "backup");
    assert_eq!(server.status_of(Method::DELETE, &format!("/links/{link}")).await, Some(204));
    server.stop();

    let forgetful = target(&home, "forgetful");
    assert!(restore(&backup, &forgetful, &[]).unwrap_err().contains("--deletions"));
    let ledger = home.data().join("deletions.ledger");
    let data = target(&home, "restored");
    let told = restore(&backup, &data, &["--deletions", ledger.to_str().unwrap()]).unwrap();
    assert!(told.contains("every deletion"), "{told}");
    let server = home.start_on(&data).await;
    assert_eq!(link_status(&server, &link).await, Some(410));
    server.stop();

    assert!(restore(&backup, &forgetful, &["--without-deletions"]).is_ok());
    let server = home.start_on(&forgetful).await;
    assert_eq!(link_status(&server, &link).await, Some(200), "nobody knows of the deletion any more");
}

#[tokio::test]
async fn a_flipped_byte_anywhere_is_noticed_and_leaves_nothing() {
    let home = Home::served_once().await;
    let backup = back_up(&home, "backup");
    let database = backup.join("passbook.db");
    let whole = std::fs::read(&database).unwrap();
    for place in [0, 30, whole.len() / 3, whole.len() / 2, whole.len() - 1] {
        let mut bent = whole.clone();
        bent[place] ^= 1;
        std::fs::write(&database, bent).unwrap();
        let data = target(&home, &format!("bent-{place}"));
        let refused = restore(&backup, &data, &["--without-deletions"]).unwrap_err();
        assert!(refused.contains("is damaged"), "byte {place}: {refused}");
        assert_eq!(std::fs::read_dir(&data).unwrap().count(), 1, "only the key is there");
    }
    std::fs::write(&database, &whole[..whole.len() - 1]).unwrap();
    let data = target(&home, "cut");
    assert!(restore(&backup, &data, &["--without-deletions"]).unwrap_err().contains("is damaged"));

    std::fs::write(&database, &whole).unwrap();
    let manifest = backup.join("manifest.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    for (from, to) in [("\"format\": 1", "\"format\": 9"), ("\"schema_version\": ", "\"schema_version\": 9"), ("{", "")]
    {
        std::fs::write(&manifest, text.replacen(from, to, 1)).unwrap();
        assert!(restore(&backup, &data, &["--without-deletions"]).is_err(), "{from}");
    }
    std::fs::write(&manifest, text).unwrap();
    assert!(restore(&backup, &data, &["--without-deletions"]).is_ok());
}

#[tokio::test]
async fn nothing_that_is_there_is_written_over() {
    let home = Home::served_once().await;
    let backup = back_up(&home, "backup");
    let again = home.refusal(&["backup", "--to", backup.join("passbook.db").to_str().unwrap()]);
    assert!(again.contains("exists already"), "{again}");
    let refused = restore(&backup, &home.data(), &["--without-deletions"]).unwrap_err();
    assert!(refused.contains("is not empty"), "{refused}");
    let inside = home.ask(&["backup", "--to", backup.to_str().unwrap()]);
    let path = inside["path"].as_str().unwrap();
    assert!(Path::new(path).parent() == Some(backup.as_path()) && Path::new(path).join("manifest.json").exists());
}

#[tokio::test]
async fn a_backup_holds_no_key_and_no_ledger_and_another_key_is_refused_early() {
    let home = Home::served_once().await;
    let backup = back_up(&home, "backup");
    let mut names: Vec<_> =
        std::fs::read_dir(&backup).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["manifest.json", "passbook.db"]);
    let key = std::fs::read_to_string(home.data().join("master.key")).unwrap();
    let digits = key.trim().split_once(':').unwrap().1;
    assert!(!std::fs::read_to_string(backup.join("manifest.json")).unwrap().contains(digits));

    let data = target(&home, "other-key");
    std::fs::write(data.join("master.key"), format!("passbook-master-key-v1:{}\n", "0f".repeat(32))).unwrap();
    assert!(restore(&backup, &data, &["--without-deletions"]).unwrap_err().contains("master key of version 1"));
    let bare = home.path("bare");
    let told = restore(&backup, &bare, &["--without-deletions"]).unwrap();
    assert!(told.contains("Put the master key of version 1"), "{told}");
}
