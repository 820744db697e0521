//! Bounds on packages and on what is said about them.

/// The most bytes of a package file.
pub const PACKAGE_BYTES: usize = 64 << 20;
/// The most bytes of an encoded manifest.
pub const MANIFEST_BYTES: usize = 512 << 10;
/// The most assets of a package.
pub const ASSETS: usize = 1024;
/// The most bytes of an asset's name.
pub const ASSET_NAME_BYTES: usize = 200;
/// The most entry points of an app.
pub const ENTRIES: usize = 16;
/// The most permissions that an app asks for.
pub const PERMISSIONS: usize = 32;
/// The most authors before the present one that a package names.
pub const HANDOVERS: usize = 16;
/// The most bytes of a path in a tree that is asked for or granted.
pub const PATH_BYTES: usize = 1024;
/// The most bytes of a line that an author or owner writes for people.
pub const LINE_BYTES: usize = 200;
/// The most bytes of a value that an owner gives an app as environment.
pub const VALUE_BYTES: usize = 4096;
/// The most earlier packages that an installation goes on answering for by id.
pub const KEPT: usize = 16;
/// The most bytes of the record of an installation.
pub const INSTALLATION_BYTES: usize = 256 << 10;

/// The most memory of one call, in bytes.
pub const MEMORY_BYTES: u64 = 2 << 30;
/// The longest time of one call: a day, in milliseconds.
pub const CALL_MS: u64 = 24 * 3600 * 1000;
/// The most calls of an app at one time.
pub const CONCURRENT_CALLS: u32 = 1024;
/// The most bytes of a call's body, either way: 16 TiB, as of a file.
pub const BODY_BYTES: u64 = 16 << 40;
/// The most bytes that one call writes to its log.
pub const LOG_BYTES: u64 = 64 << 20;
/// The most elements of tables of one call.
pub const TABLE_ELEMENTS: u32 = 10_000_000;
/// The most core instances of one call.
pub const INSTANCES: u32 = 256;
