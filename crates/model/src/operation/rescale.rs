//! By what instances are scaled follows what serves, not what is asked for.

use super::{Changes, Write};

impl Changes<'_> {
    /// Keeps in the service's row what its active revision says of scaling behind these changes.
    pub(super) fn rescale(&mut self) {
        let active = self.service.active;
        let written = self.writes.iter().find_map(|write| match write {
            Write::RevisionConfig(number, config) if Some(*number) == active => Some(&config.scaling),
            _ => None,
        });
        let kept = self.view.revision(active).map(|revision| &revision.config.scaling);
        self.service.rescale(written.or(kept));
    }
}
