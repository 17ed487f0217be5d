//! Limits, defaults and reserved names, with their units. Nothing else in the code states a bound.

/// Lines of output that are kept with a failure.
pub const LAST_LINES: usize = 20;
/// Of the last line of output, this much goes into a reason; AWS's messages end at 600 characters.
pub const REASON_LINE_CHARS_MAX: usize = 300;
/// A longer line of application output is cut into pieces of this size.
pub const LOG_LINE_BYTES_MAX: usize = 16 * 1024;
/// A proxy reports this often; control takes a lease as lapsed after `PROXY_LEASE_MS`.
pub const PROXY_STATUS_MS: u64 = 500;
pub const PROXY_LEASE_MS: u64 = 2_000;
/// One message between our processes.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// An address is not used again for this long after its instance went.
pub const ADDRESS_QUARANTINE_MS: u64 = 10 * 60 * 1000;
/// SIGTERM to SIGKILL; Fargate's default.
pub const STOP_GRACE_MS: u64 = 30_000;
/// A first deployment or a new revision has this long to become healthy: App Runner's documented 5 minutes.
pub const BECOME_HEALTHY_MS: u64 = 5 * 60 * 1000;
/// One build, from source to image.
pub const BUILD_MS_MAX: u64 = 30 * 60 * 1000;
/// Body of an API request: a part of an upload and its encoding fit.
pub const API_BODY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// One part of an uploaded source or image, before base64.
pub const UPLOAD_PART_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A whole uploaded source directory or image archive.
pub const UPLOAD_BYTES_MAX: u64 = 8 * 1024 * 1024 * 1024;
/// `apprunner.yaml`; the longest published one has a few kilobytes.
pub const MANIFEST_BYTES_MAX: usize = 256 * 1024;
/// Names and values of a service's variables together: Linux gives arguments and environment 2 MiB of stack at
/// most, and what we add and the image's own must fit beside them.
pub const ENVIRONMENT_BYTES_MAX: usize = 1024 * 1024;
/// Uploads that are open at once; each holds a file of up to `UPLOAD_BYTES_MAX`.
pub const UPLOADS_OPEN_MAX: usize = 8;
/// An upload that received nothing for this long is given up and its file removed.
pub const UPLOAD_IDLE_MS_MAX: u64 = 10 * 60 * 1000;
/// A long poll for log lines waits this long at most, as `specs/apron.json` says.
pub const LOG_WAIT_S_MAX: u64 = 20;
/// Connections to the API that are served at once; further ones wait in the listener's backlog.
pub const API_CONNECTIONS_MAX: usize = 256;
/// The port of a service that names none, for every runtime and image.
pub const PORT_DEFAULT: u16 = 8080;
/// An image of 10 GiB over 150 Mbit/s.
pub const IMAGE_PULL_MS_MAX: u64 = 10 * 60 * 1000;
/// A build or pull that failed for a passing reason is tried this often before its operation gives up.
pub const BUILD_TRIES_MAX: u32 = 3;
/// Another port is open and the configured one is not: an application opens its ports together, so waiting for
/// the whole health deadline would tell the user nothing new.
pub const WRONG_PORT_MS: u64 = 30 * 1000;
/// Every live proxy takes a table in milliseconds; a proxy that lags longer is replaced, and never the reason
/// for a rollback.
pub const ROUTE_MS_MAX: u64 = 10 * 1000;
/// An old instance may finish its requests for this long: the longest request there is.
pub const DRAIN_MS: u64 = 120 * 1000;
/// Pausing and deleting wait for requests no longer than this.
pub const DRAIN_STOP_MS: u64 = 30 * 1000;
/// A proxy process that lives but was silent this long no longer holds an old instance up.
pub const PROXY_SILENT_MS_MAX: u64 = 60 * 1000;
/// Draining, a silent proxy, the stop's grace, and a node that restarts meanwhile.
pub const REMOVE_MS_MAX: u64 = 5 * 60 * 1000;
/// Revisions whose rows and images are kept, the active one included.
pub const REVISIONS_KEPT: usize = 5;
/// A deleted service is described for a day.
pub const DELETED_KEPT_MS: u64 = 24 * 60 * 60 * 1000;
/// A slot's row that says gone is the proof that its container may be deleted.
pub const GONE_SLOT_KEPT_MS: u64 = 24 * 60 * 60 * 1000;
/// Operations of one service that are listed; older ended ones are forgotten.
pub const OPERATIONS_KEPT: usize = 200;
