//! What is known of the server itself.

use std::net::SocketAddr;
use std::time::Duration;

use pgpooler_config::TargetRole;

/// Which server there is, or since when there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PresenceReport {
    /// The last login that succeeded was there: host and port as the document calls them; none: none has.
    pub host: Option<(String, u16)>,
    /// The address that it was at.
    pub address: Option<SocketAddr>,
    /// Whether it was a primary or a standby, if that is known.
    pub role: Option<TargetRole>,
    /// Set while no login succeeds.
    pub absence: Option<AbsenceReport>,
    /// How often clients were held, since start.
    pub holds: u64,
    /// Requests and logins that were refused since the server had been away for too long, since start.
    pub refused: u64,
}

/// No login to the server succeeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbsenceReport {
    /// How long that has been so.
    pub away: Duration,
    /// Clients do not wait any more, they are refused.
    pub refuses: bool,
    /// Which server it is, and why the last login failed.
    pub why: String,
}
