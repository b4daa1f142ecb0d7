//! The specifications and the handbook, as they stood when this program was built: for `guide`, for `demo`, and for whoever
//! has only the binary.

/// Name and text of each document.
pub const DOCUMENTS: &[(&str, &str)] = &[
    ("guide.md", include_str!("../../specs/guide.md")),
    ("00-overview.md", include_str!("../../specs/00-overview.md")),
    ("01-identity.md", include_str!("../../specs/01-identity.md")),
    ("02-envelope.md", include_str!("../../specs/02-envelope.md")),
    ("03-session.md", include_str!("../../specs/03-session.md")),
    ("04-records.md", include_str!("../../specs/04-records.md")),
    ("05-grants.md", include_str!("../../specs/05-grants.md")),
    ("06-receipts.md", include_str!("../../specs/06-receipts.md")),
    ("07-audit.md", include_str!("../../specs/07-audit.md")),
    ("08-blobs.md", include_str!("../../specs/08-blobs.md")),
    ("09-pairing.md", include_str!("../../specs/09-pairing.md")),
];
