//! What ends a cluster whose owner ended without doing so.

use std::{
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
};

/// Reads until the pipe closes, then stops the server that its process file names and removes the directory. The
/// owner's own clean-up may have been there first.
const SCRIPT: &str = r#"
cat >/dev/null
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
if [ -n "$pid" ]; then
    kill -QUIT "$pid" 2>/dev/null
    tries=0
    while kill -0 "$pid" 2>/dev/null && [ "$tries" -lt 100 ]; do sleep 0.05; tries=$((tries + 1)); done
fi
rm -rf "$1"
"#;

/// A shell that waits for this process to let go of it.
pub(crate) struct Watcher {
    shell: Child,
    pipe: Option<ChildStdin>,
}

impl Watcher {
    pub(crate) fn start(directory: &Path) -> std::io::Result<Self> {
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT, "watcher"])
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A group of its own: what ends the owner's group must not end what cleans up after it.
            .process_group(0)
            .spawn()?;
        let pipe = shell.stdin.take();
        Ok(Self { shell, pipe })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _removed_by_then = self.shell.wait();
    }
}
