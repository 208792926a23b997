//! (stand-in)
#![allow(missing_docs, clippy::all, unused)]
use crate::oci::*;
use crate::store::Store;
use crate::sys::Cancel;
use std::path::Path;
#[derive(Debug, thiserror::Error)]
#[error("registry not there")]
pub struct Error;
#[derive(Debug, Clone, Default)]
pub struct Config;
impl Config {
    pub fn load(_: Option<&Path>) -> Result<Config, Error> {
        Ok(Config)
    }
}
pub struct ClientOptions {
    pub config: Config,
    pub insecure: Vec<String>,
}
pub struct Client;
impl Client {
    pub fn new(_: ClientOptions) -> Result<Client, Error> {
        Ok(Client)
    }
    pub fn resolve(&self, _: &Reference, _: &Cancel) -> Result<Document, Error> {
        Err(Error)
    }
    pub fn fetch_blob(
        &self,
        _: &Reference,
        _: &Descriptor,
        _: &Store,
        _: &dyn Fn(u64),
        _: &Cancel,
    ) -> Result<(), Error> {
        Err(Error)
    }
    pub fn push_blob(
        &self,
        _: &Reference,
        _: &Descriptor,
        _: &Store,
        _: &dyn Fn(u64),
        _: &Cancel,
    ) -> Result<(), Error> {
        Err(Error)
    }
    pub fn push_manifest(&self, _: &Reference, _: &Encoded<Manifest>, _: &Cancel) -> Result<(), Error> {
        Err(Error)
    }
}
