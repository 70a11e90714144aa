use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _},
        net::UnixStream,
    },
    path::{Path, PathBuf},
};

use tokio::net::UnixListener;

/// The API's socket cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody listens there.
    #[error("another agent answers at {}: stop it, or give this one another --api-unix", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something else has that name.
    #[error("{} exists and is no socket: remove it, or choose another --api-unix", path.display())]
    NoSocket {
        /// The file.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot {action} {}: {cause}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
}

/// Listens at `path`, for owner and group (mode 0660). Its directory is made; the socket of a dead agent is
/// replaced.
///
/// # Errors
/// A live agent's socket, no socket, or no rights.
pub fn bind(path: &Path) -> Result<UnixListener, BindError> {
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |cause| BindError::Io { action, path, cause }
    };
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent).map_err(failed("make directory", parent))?;
    }
    match fs::symlink_metadata(path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
        Err(cause) => return Err(failed("look at", path)(cause)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(BindError::NoSocket { path: path.to_owned() });
        }
        Ok(_) => match UnixStream::connect(path) {
            Err(cause) if cause.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path).map_err(failed("remove the stale socket", path))?;
            }
            Err(cause) => return Err(failed("connect to", path)(cause)),
            Ok(_) => return Err(BindError::InUse { path: path.to_owned() }),
        },
    }
    let listener = UnixListener::bind(path).map_err(failed("listen at", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660)).map_err(failed("set the mode of", path))?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_directory_is_made_and_the_mode_set() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("run/nlb/agent.sock");
        let _listener = bind(&path).expect("free");
        assert_eq!(fs::metadata(&path).expect("exists").permissions().mode() & 0o777, 0o660);
    }

    #[tokio::test]
    async fn a_dead_agents_socket_is_replaced_and_a_live_ones_is_not() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("agent.sock");
        let listener = bind(&path).expect("free");
        let error = bind(&path).expect_err("in use").to_string();
        assert!(error.starts_with(&format!("another agent answers at {}", path.display())), "{error}");
        drop(listener);
        assert!(path.exists(), "a dead agent leaves its socket");
        bind(&path).expect("stale");
    }

    #[tokio::test]
    async fn what_is_no_socket_is_left_alone() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("agent.sock");
        fs::write(&path, "precious").expect("written");
        let error = bind(&path).expect_err("a file");
        assert!(matches!(error, BindError::NoSocket { .. }), "{error:?}");
        assert_eq!(fs::read_to_string(&path).expect("still there"), "precious");
    }
}
