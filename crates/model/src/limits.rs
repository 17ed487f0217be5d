//! Limits, defaults and reserved names, with their units. Nothing else in the code states a bound.

use crate::throttle::Rate;

/// Lines of output that are kept with a failure.
pub const LAST_LINES: usize = 20;
/// What all of them may take together in a message, as JSON counts it. Two thousand instances that end together
/// must fit into one message with theirs; the whole output is in the log.
pub const LAST_LINES_BYTES_MAX: usize = 4 * 1024;
/// One of them, so that a single long line does not take the others' room.
pub const LAST_LINE_BYTES_MAX: usize = 1024;
/// A fault's sentence, counted likewise: it may quote what an application or a registry said.
pub const REASON_BYTES_MAX: usize = 1024;
/// What one instance may write to its file system, as on App Runner.
pub const INSTANCE_DISK_BYTES_MAX: u64 = 3 * 1024 * 1024 * 1024;
/// Of the last line of output, this much goes into a reason; AWS's messages end at 600 characters.
pub const REASON_LINE_CHARS_MAX: usize = 300;
/// A longer line of application output is cut into pieces of this size.
pub const LOG_LINE_BYTES_MAX: usize = 16 * 1024;
/// A proxy reports this often; control takes a lease as lapsed after `PROXY_LEASE_MS`.
pub const PROXY_STATUS_MS: u64 = 500;
pub const PROXY_LEASE_MS: u64 = 2_000;
/// A peer that reports a generation of an epoch this far above our own is believed: a backup may be this many
/// starts of control old. One that reports a later epoch is wrong or lies, and epochs never go back.
pub const EPOCH_STEP_MAX: u64 = 1_000_000;
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
/// A build waits this long for its place, of which there are few: behind eight that take all of their time.
pub const BUILD_WAIT_MS_MAX: u64 = 2 * 60 * 60 * 1000;
/// What one build may write: its sources, what its commands leave anywhere, and its caches.
pub const BUILD_WRITTEN_BYTES_MAX: u64 = 10 * 1024 * 1024 * 1024;
/// Files and directories among that: beyond it a file system's inodes and the time of a walk become the problem.
pub const BUILD_FILES_MAX: u64 = 4_000_000;
/// Downloads kept between the builds of one service; a cache that grew beyond is dropped, not trimmed.
pub const BUILD_CACHE_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;
/// Memory that a build is expected to need beside its share of what must stay free: an installation of packages.
pub const BUILD_MEMORY_MIB: u64 = 256;
/// A build waits this long for memory before that is the reason why it failed.
pub const BUILD_MEMORY_WAIT_MS_MAX: u64 = 60 * 1000;
/// Body of an API request: a service with all its variables fits, and JSON's escapes in moderation.
pub const API_BODY_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Body of a request that carries a part of an upload: `UPLOAD_PART_BYTES_MAX` in base64 fits.
pub const API_UPLOAD_BODY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// One part of an uploaded source or image, before base64.
pub const UPLOAD_PART_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A whole uploaded source directory or image archive.
pub const UPLOAD_BYTES_MAX: u64 = 8 * 1024 * 1024 * 1024;
/// `apprunner.yaml`; the longest published one has a few kilobytes.
pub const MANIFEST_BYTES_MAX: usize = 256 * 1024;
/// Names and values of a service's variables together: Linux gives arguments and environment 2 MiB of stack at
/// most, and what we add and the image's own must fit beside them.
pub const ENVIRONMENT_BYTES_MAX: usize = 1024 * 1024;
/// A start or build command: with what stands around it, it must fit into one argument, 128 KiB on Linux.
pub const COMMAND_BYTES_MAX: usize = 64 * 1024;
/// Uploads that are open at once; each holds a file of up to `UPLOAD_BYTES_MAX`.
pub const UPLOADS_OPEN_MAX: usize = 8;
/// What all open uploads hold together.
pub const UPLOADS_BYTES_MAX: u64 = 2 * UPLOAD_BYTES_MAX;
/// An upload that received nothing for this long is given up and its file removed.
pub const UPLOAD_IDLE_MS_MAX: u64 = 10 * 60 * 1000;
/// A long poll for log lines waits this long at most, as `specs/apron.json` says.
pub const LOG_WAIT_S_MAX: u64 = 20;
/// Access keys of a platform, its owner's included.
pub const ACCESS_KEYS_MAX: usize = 100;
/// What the audit log keeps of one call's parameters, as JSON.
pub const AUDIT_PARAMETERS_BYTES_MAX: usize = 4 * 1024;
/// Of an access key's id or an operation's name that a stranger presented.
pub const AUDIT_CLAIM_CHARS_MAX: usize = 128;
/// Lines that wait to be written to the audit log, those of changes and the others apart; one has some 9 KiB at most. A
/// change waits for its place before it acts; of the others a call beyond is counted.
pub const AUDIT_QUEUE_MAX: usize = 1024;
/// Lines about unknown keys and wrong signatures; further ones of the same minute are counted. Who has no key must
/// not be able to push out what others did.
pub const AUDIT_STRANGERS_PER_MINUTE_MAX: u32 = 10;
/// Connections to the API. Where one more comes, one that does nothing gives way; while all are at work, the one that
/// has come is closed with an answer.
pub const API_CONNECTIONS_MAX: usize = 256;
/// Of those, what one address may hold, an IPv6 network of 64 bits counting as one.
pub const API_ADDRESS_CONNECTIONS_MAX: usize = 64;
/// The same for loopback, where a reverse proxy stands for everybody behind it: all but some for those who come
/// directly.
pub const API_LOOPBACK_CONNECTIONS_MAX: usize = 224;
/// What others leave to loopback, so that whoever sits at the machine gets in.
pub const API_KEPT_FOR_LOOPBACK: usize = 16;
/// What two keys at work leave to others, on loopback and in all.
const API_KEPT_FOR_OTHER_KEYS: usize = 16;
/// Connections that are at work for one key: its long polls, and some for its other calls.
pub const API_KEY_CONNECTIONS_MAX: usize = (API_LOOPBACK_CONNECTIONS_MAX - API_KEPT_FOR_OTHER_KEYS) / 2;
const _: () = assert!(
    2 * API_KEY_CONNECTIONS_MAX + API_KEPT_FOR_OTHER_KEYS <= API_CONNECTIONS_MAX - API_KEPT_FOR_LOOPBACK
        && API_KEY_POLLS_MAX < API_KEY_CONNECTIONS_MAX
);
/// Connections beyond that which are answered at once; further ones are closed without a word.
pub const API_REFUSALS_MAX: usize = 32;
/// The rest of a request's head, and the next request of a connection, are waited for this long.
pub const API_HEAD_MS_MAX: u64 = 10_000;
/// A head carries a signature and a target; SDKs send about one kilobyte.
pub const API_HEAD_BYTES_MAX: usize = 32 * 1024;
/// A call waits this long for its place: for a large body, or in the audit log's queue. SDKs try again when there is
/// none.
pub const API_PLACE_MS_MAX: u64 = 10_000;
/// For the next bytes of a body.
pub const API_BODY_IDLE_MS_MAX: u64 = 10_000;
/// For all of a body: a part of an upload at 100 KB per second.
pub const API_BODY_MS_MAX: u64 = 60_000;
/// For an answer to be taken: as long as the command line stays for one.
pub const API_ANSWER_MS_MAX: u64 = 60_000;
/// For a client to end, and to see its answer, after we have: a large body at a few MB per second.
pub const API_LINGER_MS_MAX: u64 = 5_000;
/// What is read and dropped after the last answer: twice the largest body that is taken.
pub const API_DROPPED_BYTES_MAX: usize = 2 * API_UPLOAD_BODY_BYTES_MAX;
/// By this much a caller is held up who calls too often, or an address that goes on without a good signature.
pub const API_HELD_UP_MS: u64 = 1_000;
/// A connection that was told to give way is gone within this time.
pub const API_EVICT_MS_MAX: u64 = 1_000;
/// After a failed accept (no descriptors left, most likely) the next waits for this long, or the loop would spin.
pub const API_ACCEPT_PAUSE_MS: u64 = 50;
/// When the process is to end, open calls have this long to end, and then the lines of the last ones to be written.
pub const API_DRAIN_MS_MAX: u64 = 5_000;
pub const API_LAST_LINES_MS_MAX: u64 = 2_000;
/// Calls that wait for log lines, each on a connection of its own: those of one key, and of all together.
pub const API_KEY_POLLS_MAX: usize = 80;
pub const API_POLLS_MAX: usize = 192;
/// The body of a call that only reads is no larger: the longest token of a list fits. Of others, a larger one needs a
/// place before it is read.
pub const API_SMALL_BODY_BYTES_MAX: usize = 64 * 1024;
/// Larger bodies that are held in memory at once, for those whose signature is good as far as a head can tell: those of
/// one key, and of all together.
pub const API_KEY_LARGE_BODIES_MAX: usize = 4;
pub const API_LARGE_BODIES_MAX: usize = 8;
/// The same where the signature can only be compared once the body is there, so that whoever knows no more than a
/// key's id may be the sender: those from one address, and all.
pub const API_ADDRESS_UNPROVEN_BODIES_MAX: usize = 2;
pub const API_UNPROVEN_BODIES_MAX: usize = 4;
/// What one access key may call. These protect the machine: a call that reads costs control well under a millisecond,
/// one that changes something waits for the disk behind one writer. The bursts are a script over a thousand services.
pub const API_READS: Rate = Rate { per_second: 500, burst: 5_000 };
pub const API_WRITES: Rate = Rate { per_second: 100, burst: 1_000 };
/// Requests of one address without a good signature, the console's files among them, and refusals of a key that calls too
/// often. Beyond it each is held up for a moment.
pub const API_STRANGERS: Rate = Rate { per_second: 20, burst: 200 };
/// Callers whose rates are remembered; there are fewer keys, and addresses have no bound.
pub const API_CALLERS_MAX: usize = 4 * 1024;
/// The port of a service that names none, for every runtime and image.
pub const PORT_DEFAULT: u16 = 8080;
/// An image of 10 GiB over 150 Mbit/s.
pub const IMAGE_PULL_MS_MAX: u64 = 10 * 60 * 1000;
/// A build or pull that failed for a passing reason is tried this often before its operation gives up.
pub const BUILD_TRIES_MAX: u32 = 3;
/// What hinders an instance's start for now, a full disk or too little memory, is waited for this long and for
/// this many tries, whichever is later: then it is the reason of the failure. Who waits is told at the first.
pub const START_HINDERED_MS: u64 = 20 * 1000;
pub const START_TRIES_MAX: u32 = 3;
/// Another port is open and the configured one is not: an application opens its ports together, so waiting for
/// the whole health deadline would tell the user nothing new.
pub const WRONG_PORT_MS: u64 = 30 * 1000;
/// An application that answers its health check with an error that may pass, 503 while it warms up, say, has this long.
pub const ERRORS_AT_START_MS: u64 = 2 * 60 * 1000;
/// Every live proxy takes a table in milliseconds; a proxy that lags longer is replaced, and never the reason
/// for a rollback.
pub const ROUTE_MS_MAX: u64 = 10 * 1000;
/// An old instance may finish its requests for this long: the longest request there is.
pub const DRAIN_MS: u64 = 120 * 1000;
/// Services whose rows changed are looked at for what is amiss between operations, so many in a pass over the routes.
pub const SERVICES_MENDED_MAX: usize = 64;
/// Pausing and deleting wait for requests no longer than this.
pub const DRAIN_STOP_MS: u64 = 30 * 1000;
/// A proxy process that lives but was silent this long no longer holds an old instance up.
pub const PROXY_SILENT_MS_MAX: u64 = 60 * 1000;
/// Draining, a silent proxy, the stop's grace, and a node that restarts meanwhile.
pub const REMOVE_MS_MAX: u64 = 5 * 60 * 1000;
/// Revisions whose rows and images are kept, the active one included.
pub const REVISIONS_KEPT: usize = 5;
/// Content that no row names is left alone for this long after its arrival: a build or a pull in progress, and an
/// upload whose service is about to be created.
pub const CONTENT_YOUNG_MS: u64 = 2 * BUILD_MS_MAX;
/// A deleted service is described for a day.
pub const DELETED_KEPT_MS: u64 = 24 * 60 * 60 * 1000;
/// What an operation that failed asked for is kept to be repeated for a day, where that holds on to an upload.
pub const UPLOAD_ASKED_KEPT_MS: u64 = 24 * 60 * 60 * 1000;
/// Requests in a second that an instance may be meant for.
pub const SCALE_ON_REQUESTS_MAX: u32 = 1_000_000;
/// What services used is known by day for so long.
pub const USAGE_DAYS_KEPT: u32 = 400;
/// And what each of their instances used, for so long.
pub const USAGE_INSTANCE_DAYS_KEPT: u32 = 35;
/// A slot's row that says gone is the proof that its container may be deleted.
pub const GONE_SLOT_KEPT_MS: u64 = 24 * 60 * 60 * 1000;
/// Operations of one service that are listed; older ended ones are forgotten.
pub const OPERATIONS_KEPT: usize = 200;
/// Rows that are forgotten in one transaction, which calls wait for.
pub const PURGE_ROWS_MAX: usize = 50;
/// Operations that wait behind the open one of a service whose tag asks for that; the next is refused.
pub const OPERATIONS_QUEUED_MAX: usize = 10;
/// What the tags `apron:cpu` (CPU units, 1024 to a core) and `apron:memory` take beside AWS's pairs.
pub const CPU_UNITS_MIN: u32 = 64;
pub const CPU_UNITS_MAX: u32 = 16 * 1024;
pub const MEMORY_MIB_MIN: u32 = 64;
pub const MEMORY_MIB_MAX: u32 = 64 * 1024;
/// The longest time in which failing checks of a new instance do not count; it lengthens `BECOME_HEALTHY_MS`.
pub const HEALTH_CHECK_GRACE_S_MAX: u32 = 3_600;
/// What tags may say of requests. One instance takes no more of them at a time, whatever it is written in:
pub const CONCURRENCY_HARD_MAX: u32 = 10_000;
/// the head of an answer, and each further byte, may be waited for this long;
pub const REQUEST_TIMEOUT_S_MAX: u32 = 3_600;
/// a silent stream this long, two heartbeats of one that gives a sign twice a day;
pub const STREAM_IDLE_S_MAX: u32 = 24 * 3_600;
/// a terabyte is the largest body for which a limit is worth setting;
pub const REQUEST_BODY_MIB_MAX: u32 = 1024 * 1024;
/// and more than a whole proxy answers is no limit for one address.
pub const REQUESTS_PER_SECOND_MAX: u32 = 1_000_000;
/// Pulls, unpacking and builds stop while the data directory's disk has less than this free, or than
/// `DISK_FREE_FLOOR_PERCENT` of it if that is less, or room for less than that part of the files that it can hold. At
/// half of that, instances are ended: whoever brings an image stops before somebody who serves does.
pub const DISK_FREE_FLOOR_BYTES: u64 = 1024 * 1024 * 1024;
pub const DISK_FREE_FLOOR_PERCENT: u64 = 4;
/// The floor of files is a part of them too, and no more than so many.
pub const DISK_FREE_FLOOR_FILES: u64 = 65_536;
/// An instance may make one file for so many of the bytes that it may write: a file that holds something takes a block
/// of that size.
pub const FILE_BYTES: u64 = 4 * 1024;

/// What the tag apron:idle-after-ms may say, in milliseconds. Less would have instances go up and down between the
/// requests of one page; the most is a week.
pub const IDLE_AFTER_MS_MIN: u64 = 100;
pub const IDLE_AFTER_MS_MAX: u64 = 7 * 24 * 3_600_000;
