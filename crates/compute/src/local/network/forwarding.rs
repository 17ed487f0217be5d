//! Forwarding on interfaces of the host: switched on where instances' packets go, and off again at the end.

use super::*;
use crate::local::kernel::boot_id;

impl Network {
    /// Replies to instances come in through these interfaces. Repeated at each attach, since routes change. The
    /// book has it first, so that `restore_forwarding` knows.
    pub(super) fn enable_forwarding(&self) {
        for interface in default_interfaces(&self.egress_allow) {
            if !forwards_not(&interface) {
                continue;
            }
            let enabled = self.note_forwarding(&interface).and_then(|()| set_forwarding(&interface, "1"));
            match enabled {
                Ok(()) => tracing::info!(interface, "enabled IPv4 forwarding on this interface"),
                Err(error) => {
                    tracing::warn!(interface, %error, "instances cannot reach the network through it")
                }
            }
        }
    }

    fn note_forwarding(&self, interface: &str) -> Result<(), NetworkError> {
        let mut book = self.book();
        let mut next = book.clone();
        next.forwarding.insert(interface.to_owned());
        self.keep(&next)?;
        *book = next;
        Ok(())
    }
}

/// Switches forwarding off again where the platform of this directory switched it on, unless others need it: another
/// platform that has interfaces, or a host that forwards as a whole. Call it after `purge`. Blocking.
pub(crate) fn restore_forwarding(node_dir: &Path) -> Result<(), NetworkError> {
    let path = node_dir.join(BOOK);
    let file = |error| NetworkError::File { path: path.clone(), error };
    let Some(book) = durable::read_json::<Book>(&path).map_err(file)? else { return Ok(()) };
    let boot_id = boot_id().map_err(file)?;
    if !book.is_of(&boot_id) || interfaces()?.iter().any(|name| is_a_platforms(name)) || !forwards_not("all")
    {
        return Ok(());
    }
    for interface in &book.forwarding {
        // One that is gone needs nothing.
        if if_nametoindex(interface.as_str()).is_ok() {
            set_forwarding(interface, "0")?;
            tracing::info!(interface, "switched IPv4 forwarding off again on this interface");
        }
    }
    Ok(())
}

/// Whether an interface has a name that some platform on this host gave it.
fn is_a_platforms(name: &str) -> bool {
    name.strip_prefix("ap")
        .and_then(|rest| rest.get(..8))
        .is_some_and(|id| id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
}

fn forwards_not(interface: &str) -> bool {
    sysctl_read("ipv4", interface, "forwarding").as_deref() == Some("0")
}

fn set_forwarding(interface: &str, value: &str) -> Result<(), NetworkError> {
    sysctl("ipv4", interface, "forwarding", value)
}
