//! A cluster survives what it is made for, and leaves nothing behind.

use std::{
    net::TcpStream,
    process::Command,
    time::{Duration, Instant},
};

use postgres_cluster::{Binaries, Cluster, Place, Stop};

/// `None` on a machine without server binaries; said in the test's output.
fn binaries() -> Option<Binaries> {
    let found = Binaries::find();
    if found.is_none() {
        println!("SKIPPED: no PostgreSQL server binaries were found on this machine");
    }
    found
}

#[test]
fn it_comes_back_after_every_kind_of_end_and_leaves_nothing() {
    let Some(binaries) = binaries() else { return };
    let mut cluster = Cluster::start(&binaries, Place::Memory, &["work_mem = '5MB'"]).unwrap();
    let (port, data) = (cluster.port(), cluster.data());
    assert!(cluster.start_again().is_err(), "it runs already");
    for stop in [Stop::Fast, Stop::Immediate] {
        cluster.stop(stop).unwrap();
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
        cluster.start_again().unwrap();
    }
    cluster.kill().unwrap();
    assert_eq!(cluster.postmaster_id(), None);
    cluster.start_again().unwrap();
    assert_eq!(cluster.port(), port);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
    cluster.amcheck("postgres").unwrap();
    drop(cluster);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    assert!(!data.exists());
}

#[test]
fn it_ends_with_an_owner_that_was_killed() {
    if binaries().is_none() {
        return;
    }
    // The command tells the port and kills the program that started it.
    let script = "echo \"$PASSBOOK_TEST_POSTGRES\"; kill -9 \"$PPID\"";
    let output =
        Command::new(env!("CARGO_BIN_EXE_postgres-cluster")).args(["run", "--", "sh", "-c", script]).output().unwrap();
    assert!(!output.status.success());
    let url = String::from_utf8(output.stdout).unwrap();
    let port: u16 = url.trim().rsplit(':').next().unwrap().split('/').next().unwrap().parse().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(("127.0.0.1", port)).is_ok() {
        assert!(Instant::now() < deadline, "the server outlived its owner");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_command_runs_beside_a_cluster_and_its_exit_is_handed_on() {
    if binaries().is_none() {
        return;
    }
    let script = "test \"$PASSBOOK_TEST_POSTGRES_REQUIRED\" = 1 && exit 7";
    let status =
        Command::new(env!("CARGO_BIN_EXE_postgres-cluster")).args(["run", "--", "sh", "-c", script]).status().unwrap();
    assert_eq!(status.code(), Some(7));
}
