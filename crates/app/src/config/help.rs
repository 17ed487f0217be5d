//! What `apron serve --help` says beyond the flags: the file, and what of the environment counts.

/// Kept beside the readers of the file; a test reads the example.
pub(super) const MORE: &str = concat!(
    "The file of --config, TOML; all keys are optional:\n\n",
    include_str!("example.toml"),
    "\n\
The environment: of the variables that `apron serve` is given, its own processes get only PATH, TZ, LANG, LC_ALL,
LC_CTYPE, RUST_LOG and RUST_BACKTRACE. The node, which assembles base images and gives builds the certificates of
this machine, also gets SSL_CERT_FILE, SSL_CERT_DIR and HTTP_PROXY, HTTPS_PROXY, NO_PROXY (or in small letters).
Instances and builds get none of them; what builds shall have stands in build_environment.\n\n\
Signals: SIGTERM or SIGINT ends Apron's own processes and leaves instances running, the next start adopts them; a
second one does not wait for requests under way. SIGUSR2 puts the program that lies in this one's place on disk into
its place in memory too, with the settings as they are then, and loses no request. SIGHUP is ignored.",
);
