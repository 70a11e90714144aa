//! nlb's gRPC interface, generated from `proto/nlb/v1/*.proto`.

/// Package `nlb.v1`.
#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all, clippy::pedantic)]
pub mod v1 {
    tonic::include_proto!("nlb.v1");

    /// The encoded `FileDescriptorSet` of the package, for server reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/nlb_v1.bin"));
}
