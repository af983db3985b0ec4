//! Metrics as Prometheus scrapes them: its text format, OpenMetrics, and its protocol buffers with native histograms.

mod protobuf;
mod text;

use crate::metrics::Family;

/// A form of exposition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exposition {
    /// Prometheus's text format 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// `io.prometheus.client.MetricFamily`, each after its length.
    Protobuf,
}

impl Exposition {
    pub(crate) const ALL: [Self; 3] = [Self::Text, Self::OpenMetrics, Self::Protobuf];

    /// Its type in HTTP.
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
    }

    /// The families in this form.
    pub(crate) fn write(self, families: &[Family]) -> Vec<u8> {
        match self {
            Self::Text => text::write(families, text::Dialect::Prometheus).into_bytes(),
            Self::OpenMetrics => text::write(families, text::Dialect::OpenMetrics).into_bytes(),
            Self::Protobuf => protobuf::write(families),
        }
    }

    /// The form that an `Accept` header asks for: of those that it names the one with the greatest weight, of equal ones
    /// the first; text where it names none.
    pub(crate) fn accepted(header: &str) -> Self {
        let mut best = (Self::Text, 0.0);
        for range in header.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let Some(form) = parts.next().and_then(Self::of_media_type) else {
                continue;
            };
            let parameters: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
            if !form.understands(&parameters) {
                continue;
            }
            let weight = parameters.iter().find(|(name, _)| *name == "q");
            let weight = weight.map_or(1.0, |(_, weight)| weight.parse().unwrap_or(0.0));
            if weight > best.1 {
                best = (form, weight);
            }
        }
        best.0
    }

    fn of_media_type(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "text/plain" | "text/*" | "*/*" => Some(Self::Text),
            "application/openmetrics-text" => Some(Self::OpenMetrics),
            "application/vnd.google.protobuf" => Some(Self::Protobuf),
            _ => None,
        }
    }

    /// Whether the parameters of a media type are those of the form as it is written.
    fn understands(self, parameters: &[(&str, &str)]) -> bool {
        parameters.iter().all(|(name, value)| {
            let value = value.trim_matches('"');
            match (self, *name) {
                (Self::Protobuf, "proto") => value == "io.prometheus.client.MetricFamily",
                (Self::Protobuf, "encoding") => value == "delimited",
                (Self::OpenMetrics, "version") => matches!(value, "1.0.0" | "0.0.1"),
                (Self::Text, "version") => value == "0.0.4",
                (_, _) => true,
            }
        })
    }
}

#[cfg(test)]
mod tests;
