//! A local network of two machines, in network namespaces of its own that go with it.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::Command;
use std::thread::{self, JoinHandle};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::program::path;
use crate::{Program, Shell, get};

/// Two namespaces with one wire between them and nothing else. Needs root.
pub struct Lan {
    names: [String; 2],
}

impl Lan {
    /// Lays the wire: the machines are 10.77.0.1 and 10.77.0.2.
    ///
    /// # Panics
    /// When the system does not let it.
    pub fn new() -> Self {
        // Many stories run in one process, and other processes may run the same ones.
        let folder = tempfile::tempdir().unwrap();
        let mark: String = folder.path().file_name().unwrap().to_string_lossy().chars().rev().take(6).collect();
        let lan = Self { names: [format!("kos-{mark}-a"), format!("kos-{mark}-b")] };
        for name in &lan.names {
            ip(&["netns", "add", name]);
        }
        let [one, other] = &lan.names;
        ip(&["link", "add", "eth0", "netns", one, "type", "veth", "peer", "name", "eth0", "netns", other]);
        for (number, name) in (1..).zip(&lan.names) {
            // Without IPv6 nothing leaves by itself: no neighbour or router is asked for.
            let quiet = "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6";
            run(Command::new("ip").args(["netns", "exec", name, "sh", "-c", quiet]));
            ip(&["-n", name, "address", "add", &format!("10.77.0.{number}/24"), "dev", "eth0"]);
            ip(&["-n", name, "link", "set", "lo", "up"]);
            ip(&["-n", name, "link", "set", "eth0", "up"]);
            ip(&["-n", name, "route", "add", "default", "dev", "eth0"]);
        }
        lan
    }

    /// Somebody at one of the two machines.
    pub fn shell(&self, machine: usize) -> Shell {
        Shell::after(&["ip", "netns", "exec", &self.names[machine]])
    }

    /// A program of ours at one of the two machines, with this home.
    pub fn program(&self, machine: usize, program: &str, home: &Path, arguments: &[&str]) -> Program {
        let mut command = self.command(machine, &path(program));
        command.arg("--home").arg(home).args(arguments);
        Program::run(command, home.with_extension(format!("{program}.log")))
    }

    /// A program at one of the two machines, which nobody has started yet.
    pub fn command(&self, machine: usize, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.names[machine]]).arg(program);
        command
    }

    /// A thread at one of the two machines: its sockets are there. What it starts is elsewhere.
    ///
    /// # Panics
    /// When the system does not let it.
    pub fn thread<T: Send + 'static>(
        &self,
        machine: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let there = File::open(Path::new("/run/netns").join(&self.names[machine])).unwrap();
        thread::spawn(move || {
            move_into_link_name_space(there.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        })
    }

    /// The page of metrics of a program at one of the two machines, which shows it at this address of its own.
    ///
    /// # Panics
    /// When nobody answers there.
    pub fn metrics(&self, machine: usize, address: &str) -> String {
        let address = address.to_owned();
        self.thread(machine, move || get(&address, "/metrics").1).join().unwrap()
    }

    /// From now on this machine has a second address, from which nobody sends who does not say so.
    ///
    /// # Panics
    /// When the system does not let it.
    pub fn also_at(&self, machine: usize, address: &str) {
        ip(&["-n", &self.names[machine], "address", "add", &format!("{address}/24"), "dev", "eth0"]);
    }

    /// From now on this machine has another address, perhaps in a network of its own, and no other.
    ///
    /// # Panics
    /// When the system does not let it.
    pub fn renumber(&self, machine: usize, address: &str) {
        let name = &self.names[machine];
        ip(&["-n", name, "address", "flush", "dev", "eth0"]);
        ip(&["-n", name, "address", "add", &format!("{address}/24"), "dev", "eth0"]);
        ip(&["-n", name, "route", "add", "default", "dev", "eth0"]);
    }

    /// From now on no datagram leaves this machine.
    ///
    /// # Panics
    /// When the system does not let it.
    pub fn block_udp(&self, machine: usize) {
        ip(&["-n", &self.names[machine], "rule", "add", "ipproto", "udp", "blackhole"]);
    }

    /// From now on this machine reaches nothing on the wire but one TCP port.
    ///
    /// # Panics
    /// When the system does not let it.
    pub fn pass_only(&self, machine: usize, port: u16) {
        let rule = ["-n", &self.names[machine], "rule", "add"];
        let port = port.to_string();
        ip(&[&rule[..], &["priority", "10", "ipproto", "tcp", "dport", &port, "table", "main"]].concat());
        ip(&[&rule[..], &["priority", "20", "to", "10.77.0.0/24", "blackhole"]].concat());
    }

    /// Packets that have left this machine.
    pub fn sent(&self, machine: usize) -> u64 {
        self.count(machine, "tx_packets")
    }

    /// Bytes that the wire has carried, both ways together, with the headers of Ethernet.
    pub fn carried(&self) -> u64 {
        self.count(0, "tx_bytes") + self.count(1, "tx_bytes")
    }

    fn count(&self, machine: usize, what: &str) -> u64 {
        let file = &format!("/sys/class/net/eth0/statistics/{what}");
        let output = Command::new("ip").args(["netns", "exec", &self.names[machine], "cat", file]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
    }
}

impl Default for Lan {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        for name in &self.names {
            let _gone = Command::new("ip").args(["netns", "delete", name]).status();
        }
    }
}

fn ip(arguments: &[&str]) {
    run(Command::new("ip").args(arguments));
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
