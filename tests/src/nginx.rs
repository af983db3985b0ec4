//! An nginx with two workers, in the foreground.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

/// Starts it with its files in `folder`, and with these directives of the `http` context.
#[must_use]
pub fn start(folder: &Path, http: &str) -> Child {
    let at = folder.display();
    let configuration = format!(
        "daemon off;\nuser root;\nworker_processes 2;\npid {at}/pid;\nerror_log {at}/errors;\n\
         events {{ worker_connections 512; }}\n\
         http {{\n  access_log off;\n  client_body_temp_path {at}/body;\n  proxy_temp_path {at}/proxy;\n  \
         fastcgi_temp_path {at}/fastcgi;\n  uwsgi_temp_path {at}/uwsgi;\n  scgi_temp_path {at}/scgi;\n  {http}\n}}\n"
    );
    let path = folder.join("nginx.conf");
    fs::write(&path, configuration).expect("a folder of our own");
    Command::new("nginx")
        .arg("-c")
        .arg(&path)
        .arg("-p")
        .arg(folder)
        .stdin(Stdio::null())
        .spawn()
        .expect("nginx can be started")
}
