//! Figures in the text format that every Prometheus and `promtool check metrics` reads, made of the OpenMetrics text.
//!
//! The two differ in how a counter is called where it is described, in marks that only OpenMetrics has, and in exemplars.

use std::collections::HashMap;

/// Content type of OpenMetrics.
pub(crate) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Content type of the text format.
pub(crate) const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whether whoever sends this `Accept` wants OpenMetrics. A person with `curl` does not; Prometheus says so.
pub(crate) fn wants_open_metrics(accept: &str) -> bool {
    accept.split(',').any(|kind| kind.trim().starts_with("application/openmetrics-text"))
}

/// The text format of an OpenMetrics text.
pub(crate) fn text(open_metrics: &str) -> String {
    let kinds: HashMap<&str, &str> = open_metrics.lines().filter_map(|line| described(line, "TYPE")).collect();
    let mut text = String::with_capacity(open_metrics.len());
    for line in open_metrics.lines() {
        if let Some((family, help)) = described(line, "HELP") {
            push(&mut text, &["# HELP ", &named(family, &kinds), " ", help]);
        } else if let Some((family, kind)) = described(line, "TYPE") {
            let kind = match kind {
                "unknown" => "untyped",
                "info" | "stateset" => "gauge",
                "gaugehistogram" => "histogram",
                other => other,
            };
            push(&mut text, &["# TYPE ", &named(family, &kinds), " ", kind]);
        } else if !line.starts_with('#') {
            // An exemplar stands behind the value.
            push(&mut text, &[line.split_once(" # {").map_or(line, |(sample, _)| sample)]);
        }
    }
    text
}

/// What a line says of a family under this mark.
fn described<'a>(line: &'a str, mark: &str) -> Option<(&'a str, &'a str)> {
    line.strip_prefix("# ")?.strip_prefix(mark)?.strip_prefix(' ')?.split_once(' ')
}

/// How a family is called where it is described: as its samples are.
fn named(family: &str, kinds: &HashMap<&str, &str>) -> String {
    match kinds.get(family) {
        Some(&"counter") => format!("{family}_total"),
        Some(&"info") => format!("{family}_info"),
        _ => family.to_owned(),
    }
}

fn push(text: &mut String, parts: &[&str]) {
    text.extend(parts.iter().copied().chain(["\n"]));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n12_counters_are_described_under_the_name_of_their_samples_and_marks_of_openmetrics_are_gone() {
        let open_metrics = "# HELP lab_calls Calls in the lab.\n# TYPE lab_calls counter\n# UNIT lab_calls calls\n\
                            lab_calls_total{way=\"in\"} 3 # {trace=\"x\"} 1.0\n# HELP lab_open Open ones.\n\
                            # TYPE lab_open gauge\nlab_open 2\n# HELP lab Which lab.\n# TYPE lab info\nlab_info{v=\"1\"} 1\n\
                            # TYPE odd unknown\nodd 1\n# EOF\n";
        let expected = "# HELP lab_calls_total Calls in the lab.\n# TYPE lab_calls_total counter\n\
                        lab_calls_total{way=\"in\"} 3\n# HELP lab_open Open ones.\n# TYPE lab_open gauge\nlab_open 2\n\
                        # HELP lab_info Which lab.\n# TYPE lab_info gauge\nlab_info{v=\"1\"} 1\n# TYPE odd untyped\nodd 1\n";
        assert_eq!(text(open_metrics), expected);
    }

    #[test]
    fn only_who_asks_for_openmetrics_gets_it() {
        assert!(wants_open_metrics("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2"));
        assert!(wants_open_metrics("text/plain, application/openmetrics-text"));
        assert!(
            !wants_open_metrics("*/*") && !wants_open_metrics("") && !wants_open_metrics("text/plain;version=0.0.4")
        );
    }
}
