//! Limits, defaults and reserved names, with their units. Nothing else in the code states a bound.

/// Lines of output that are kept with a failure.
pub const LAST_LINES: usize = 20;
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
