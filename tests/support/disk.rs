//! Disks of a story's own, in a mount namespace that goes with it: one that is small, and one whose power can fail.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::{Shell, eventually};

/// A mount namespace. Needs root; it is there as long as this is, and so is what is mounted in it.
pub struct Disk {
    holder: Child,
}

impl Disk {
    /// Without anything mounted.
    ///
    /// # Panics
    /// When the system does not let it.
    pub fn new() -> Self {
        let line = ["--mount", "--propagation", "private", "cat"];
        let holder = Command::new("unshare").args(line).stdin(Stdio::piped()).spawn().unwrap();
        let disk = Self { holder };
        let own = std::fs::read_link("/proc/self/ns/mnt").unwrap();
        eventually("a mount namespace", || {
            let other = std::fs::read_link(format!("/proc/{}/ns/mnt", disk.holder.id())).ok()?;
            (other != own).then_some(())
        });
        disk
    }

    /// Somebody for whom this namespace is the world.
    pub fn shell(&self) -> Shell {
        Shell::after(&["nsenter", "--mount", "--target", &self.holder.id().to_string()])
    }

    /// Mounts a disk in memory of so many bytes (`24m`).
    ///
    /// # Panics
    /// When the system does not let it.
    pub fn mount_small(&self, place: &Path, size: &str) {
        std::fs::create_dir_all(place).unwrap();
        assert!(self.mount(&["-t", "tmpfs", "-o", &format!("size={size},mode=0700"), "none"], place));
    }

    /// Mounts the image of a disk; false where the system has no loop devices.
    pub fn mount_image(&self, image: &Path, place: &Path) -> bool {
        self.mount(&["-o", "loop", image.to_str().unwrap()], place)
    }

    fn mount(&self, what: &[&str], place: &Path) -> bool {
        let target = self.holder.id().to_string();
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--target", &target, "mount"]).args(what).arg(place).status().unwrap().success()
    }

    /// Where others see a path of this namespace.
    pub fn seen(&self, path: &Path) -> PathBuf {
        Path::new("/proc").join(self.holder.id().to_string()).join("root").join(path.strip_prefix("/").unwrap())
    }

    /// Fills a mounted disk to its last byte but for `room`, with one file.
    ///
    /// # Panics
    /// When the file cannot be made.
    pub fn fill(&self, place: &Path, room: u64) {
        let mut filler = File::create(self.seen(place).join("filler")).unwrap();
        let block = vec![0; 4096];
        while filler.write_all(&block).is_ok() {}
        let taken = filler.metadata().unwrap().len();
        assert!(taken >= room, "{} had only {taken} bytes to fill", place.display());
        filler.set_len(taken - room).unwrap();
    }

    /// Takes that file away.
    ///
    /// # Panics
    /// When it is not there.
    pub fn free(&self, place: &Path) {
        let filler = self.seen(place).join("filler");
        // A program that another test is just starting holds our open files until it runs: what is only removed may still fill the disk.
        File::options().write(true).open(&filler).unwrap().set_len(0).unwrap();
        std::fs::remove_file(filler).unwrap();
    }
}

impl Default for Disk {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Without anybody in it the namespace and its disks are gone.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
