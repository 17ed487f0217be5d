//! Which range of addresses is ours: the first that overlaps no route of the host, then kept and marked.

use super::*;
use crate::local::kernel::boot_id;

/// One platform at a time chooses its range; held for milliseconds.
const CHOICE_LOCK: &str = "/run/apron-network.lock";

pub(super) fn choose_range(names: &Names, path: &Path, ranges: &[Cidr]) -> Result<Book, NetworkError> {
    let file = |error| NetworkError::File { path: path.to_owned(), error };
    let _lock = lock_choice()?;
    let boot_id = boot_id().map_err(file)?;
    let kept: Option<Book> = durable::read_json(path).map_err(file)?;
    let platform = names.platform;
    with_netlink(async |handle| {
        let present = routes(&handle).await?;
        let book = match kept {
            Some(mut book) => {
                book.restart(&boot_id, uptime_ms()?);
                // Routes to single addresses are our own instances'.
                let wide: Vec<_> = present
                    .iter()
                    .filter(|route| route.header.destination_prefix_length < 32)
                    .cloned()
                    .collect();
                if let Some(other) = overlap(&book.range, &wide, platform) {
                    tracing::warn!(range = %book.range, route = %other, "a route of the host overlaps our addresses");
                }
                book
            }
            None => Book::new(first_free(ranges, &present, platform)?, boot_id),
        };
        // One for another range is left of a start that was cut off before it had kept its choice.
        let (right, stale): (Vec<_>, Vec<_>) = present
            .into_iter()
            .filter(|route| marks_range_of(route, platform))
            .partition(|route| destination(route) == Some(book.range));
        for route in stale {
            let deleted = handle.route().del(route).execute().await;
            deleted.map_err(|e| kernel("remove the route of an earlier address range", e))?;
        }
        if right.is_empty() {
            let route = RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(book.range.network(), book.range.prefix())
                .kind(RouteType::Unreachable)
                .priority(platform)
                .build();
            let added = handle.route().add(route).execute().await;
            added.map_err(|e| kernel("add the route of the address range", e))?;
        }
        durable::write_json(path, &book).map_err(file)?;
        Ok(book)
    })
}

fn lock_choice() -> Result<Flock<File>, NetworkError> {
    let problem = |error| NetworkError::File { path: CHOICE_LOCK.into(), error };
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(CHOICE_LOCK);
    Flock::lock(file.map_err(problem)?, FlockArg::LockExclusive).map_err(|(_, e)| problem(e.into()))
}

fn first_free(ranges: &[Cidr], present: &[RouteMessage], platform: u32) -> Result<Cidr, NetworkError> {
    let mut reasons = Vec::new();
    for range in ranges {
        match overlap(range, present, platform) {
            None => return Ok(*range),
            Some(route) => reasons.push(format!("{range} overlaps the route {route}")),
        }
    }
    Err(NetworkError::NoRange(reasons))
}

/// The first route of someone else that shares addresses with `range`; a default route does not count.
fn overlap(range: &Cidr, present: &[RouteMessage], platform: u32) -> Option<Cidr> {
    present
        .iter()
        .filter(|route| !marks_range_of(route, platform))
        .filter_map(destination)
        .find(|other| other.prefix() > 0 && other.overlaps(range))
}

fn destination(route: &RouteMessage) -> Option<Cidr> {
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => {
            Some(Cidr::containing(*address, route.header.destination_prefix_length))
        }
        _ => None,
    })
}

pub(super) fn marks_range_of(route: &RouteMessage, platform: u32) -> bool {
    route.header.kind == RouteType::Unreachable
        && route.attributes.contains(&RouteAttribute::Priority(platform))
}
