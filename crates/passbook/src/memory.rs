//! What of this process's memory others may see: nothing.
//!
//! Secrets are in memory while they are used. A core file would put them on a disk, and another process of the same user
//! could read them by attaching to this one. Both are switched off by the process itself, so that it does not depend on
//! how it was started. What was used and freed is overwritten by the allocator (see the binary).

/// The kernel refuses to close the memory of this process.
#[derive(Debug, thiserror::Error)]
#[error("core files cannot be switched off ({0}); --allow-core-dumps starts `dev` and `serve` all the same")]
pub struct Exposed(std::io::Error);

/// Switches off core files, and with them the right of other processes of the same user to look into this one.
///
/// # Errors
/// [`Exposed`].
pub fn close() -> Result<(), Exposed> {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        // The limit below is not looked at where core files are piped to a program; this is.
        set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|error| Exposed(error.into()))?;
    }
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, setrlimit};
        let nothing = Rlimit { current: Some(0), maximum: Some(0) };
        match setrlimit(Resource::Core, nothing) {
            // A sandbox may forbid all changes of limits. A process that is not dumpable leaves no core file anyway.
            Err(rustix::io::Errno::PERM) if cfg!(target_os = "linux") => {}
            set => set.map_err(|error| Exposed(error.into()))?,
        }
    }
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::process::{DumpableBehavior, Resource, dumpable_behavior, getrlimit};

    #[test]
    fn a_closed_process_leaves_no_core_file() {
        super::close().unwrap();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        let limit = getrlimit(Resource::Core);
        assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
    }
}
