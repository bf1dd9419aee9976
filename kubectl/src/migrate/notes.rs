//! What people must know before they apply a manifest.

use super::words;
use super::yaml;

/// Remarks, in the order in which they came up, each once.
#[derive(Debug, Clone, Default)]
pub(super) struct Notes {
    remarks: Vec<String>,
    idle: Vec<String>,
}

impl Notes {
    /// One more.
    pub(super) fn add(&mut self, remark: impl Into<String>) {
        let remark = remark.into();
        if !self.remarks.contains(&remark) {
            self.remarks.push(remark);
        }
    }

    /// Something that is simply not needed.
    pub(super) fn idle(&mut self, name: impl Into<String>) {
        let name = name.into();
        if !self.idle.contains(&name) {
            self.idle.push(name);
        }
    }

    /// As comments.
    pub(super) fn write(&self, text: &mut String) {
        if !self.remarks.is_empty() {
            yaml::comment(text, "");
            yaml::comment(text, "Before you apply this:");
        }
        for remark in &self.remarks {
            yaml::comment(text, &format!("- {remark}"));
        }
        if !self.idle.is_empty() {
            yaml::comment(text, "");
            yaml::comment(text, &format!("Not needed any more: {}.", words::listed(&self.idle)));
        }
    }
}
