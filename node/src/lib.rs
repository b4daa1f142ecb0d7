//! One person's kOS node: their keys, contacts, agents, grants and receipts, and the faces that show them.

pub mod address;
mod answer;
pub mod bus;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
mod doctor;
mod entropy;
pub mod fault;
mod figures;
pub mod handbook;
pub mod inbound;
mod keys;
mod leg;
mod life;
mod me;
mod meeting;
pub mod node;
mod note;
mod offers;
mod outbound;
mod people;
pub mod principal;
pub mod reply;
pub mod services;
mod show;
pub mod view;
mod ways;
pub mod web;
pub mod words;

pub use config::Config;
pub use fault::Fault;
pub use node::Node;
