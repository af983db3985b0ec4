//! A headless Chromium that opens one page, by the DevTools protocol over a pipe. Keeps what the console reports and what
//! the page requests; evaluates scripts in the page, and takes pictures of it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::Duration,
};
use tempfile::TempDir;

/// Of Debian's package `chromium`.
pub const PROGRAM: &str = "chromium";

/// The protocol's file descriptors are 3 and 4, which a shell makes of its standard input and output.
const START: &str = r#"exec "$0" "$@" 3<&0 4>&1 1>&2"#;

/// Maximum time for an answer.
const DEADLINE: Duration = Duration::from_mins(2);

/// A window's width and height.
pub type Size = (u32, u32);

/// A browser with one page.
pub struct Browser {
    child: Child,
    requests: ChildStdin,
    answers: Receiver<Vec<u8>>,
    session: String,
    latest: u64,
    /// What the console has, uncaught exceptions and violations of the page's policy included.
    pub complaints: Vec<String>,
    /// What the page has requested, itself first.
    pub requested: Vec<String>,
    _profile: TempDir,
}

impl Browser {
    /// Starts it with an empty page, and a profile of its own.
    #[must_use]
    pub fn start() -> Self {
        let profile = tempfile::tempdir().expect("a folder can be made");
        let mut child = Command::new("sh")
            .args(["-c", START, PROGRAM, "--headless", "--remote-debugging-pipe"])
            // Chromium's sandbox does not work as root, and a chroot has no /dev/shm; the pages are our own.
            .args([
                "--no-sandbox",
                "--disable-dev-shm-usage",
                "--disable-gpu",
                "--no-first-run",
                "--hide-scrollbars",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the requirement was checked");
        let requests = child.stdin.take().expect("it is piped");
        let answers = read(child.stdout.take().expect("it is piped"));
        let mut browser = Self {
            child,
            requests,
            answers,
            session: String::new(),
            latest: 0,
            complaints: Vec::new(),
            requested: Vec::new(),
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", &json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", &attach);
        attached["sessionId"]
            .as_str()
            .expect("a session")
            .clone_into(&mut browser.session);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), &json!({}));
        }
        browser
    }

    /// Sets the size of the window, and the colours that the user prefers: `light` or `dark`.
    pub fn prefer(&mut self, (width, height): Size, scheme: &str) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", &metrics);
        let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
        self.call("Emulation.setEmulatedMedia", &json!({ "features": [feature] }));
    }

    /// Shows the page as it is printed.
    pub fn prefer_print(&mut self) {
        self.call("Emulation.setEmulatedMedia", &json!({ "media": "print" }));
    }

    /// Pages that are opened from now on run no script.
    pub fn disable_scripts(&mut self) {
        self.call("Emulation.setScriptExecutionDisabled", &json!({ "value": true }));
    }

    /// Opens a file and waits until it is loaded.
    pub fn open(&mut self, file: &Path) {
        let file = file.canonicalize().expect("the file exists");
        let navigate = json!({ "url": format!("file://{}", file.display()) });
        let navigated = self.call("Page.navigate", &navigate);
        assert!(navigated.get("errorText").is_none(), "{navigated}");
        while self.value("document.readyState") != "complete" {
            self.receive();
        }
    }

    /// The value of a JavaScript expression; its promise is awaited.
    pub fn value(&mut self, expression: &str) -> Value {
        let evaluate = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.call("Runtime.evaluate", &evaluate);
        let failure = &answer["exceptionDetails"];
        assert!(failure.is_null(), "{expression}: {failure}");
        answer["result"]["value"].clone()
    }

    /// Presses a key.
    pub fn press(&mut self, key: &str) {
        for kind in ["keyDown", "keyUp"] {
            let event = json!({ "type": kind, "key": key, "code": key });
            self.call("Input.dispatchKeyEvent", &event);
        }
    }

    /// Moves the pointer to the middle of the first element that a selector finds.
    pub fn point_at(&mut self, selector: &str) {
        let middle = self.value(&format!(
            "(() => {{
                const element = document.querySelector({selector:?});
                element.scrollIntoView({{ block: 'center' }});
                const box = element.getBoundingClientRect();
                return [box.x + box.width / 2, box.y + box.height / 2];
            }})()"
        ));
        let moved = json!({ "type": "mouseMoved", "x": middle[0], "y": middle[1] });
        self.call("Input.dispatchMouseEvent", &moved);
    }

    /// Writes a picture of the page, of its first `height` pixels at most.
    pub fn picture(&mut self, file: &Path, height: u32) {
        let size = self.value(&format!(
            "[innerWidth, Math.min(document.documentElement.scrollHeight, {height})]"
        ));
        let clip = json!({ "x": 0, "y": 0, "width": size[0], "height": size[1], "scale": 1 });
        let wanted = json!({ "format": "png", "captureBeyondViewport": true, "clip": clip });
        let picture = self.call("Page.captureScreenshot", &wanted);
        let data = picture["data"].as_str().expect("a picture");
        fs::write(file, STANDARD.decode(data).expect("it is base64")).expect("there is room");
    }

    /// Calls a method and returns its result. What happens meanwhile is noted.
    fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.latest += 1;
        let id = self.latest;
        let mut request = json!({ "id": id, "method": method, "params": parameters });
        if !self.session.is_empty() {
            request["sessionId"] = json!(self.session);
        }
        let mut bytes = request.to_string().into_bytes();
        bytes.push(0);
        self.requests.write_all(&bytes).expect("it reads");
        loop {
            let mut message = self.receive();
            if message["id"] == id {
                assert!(message.get("error").is_none(), "{method}: {message}");
                return message["result"].take();
            }
        }
    }

    fn receive(&mut self) -> Value {
        // A failure ends the browser, by `drop`.
        let bytes = match self.answers.recv_timeout(DEADLINE) {
            Ok(bytes) => bytes,
            Err(RecvTimeoutError::Timeout) => panic!("{PROGRAM} has not answered for {DEADLINE:?}"),
            Err(RecvTimeoutError::Disconnected) => panic!("{PROGRAM} has ended"),
        };
        let message: Value = serde_json::from_slice(&bytes).expect("messages are JSON");
        self.note(&message);
        message
    }

    fn note(&mut self, message: &Value) {
        let parameters = &message["params"];
        match message["method"].as_str().unwrap_or_default() {
            "Runtime.exceptionThrown" => self.complaints.push(parameters["exceptionDetails"].to_string()),
            "Runtime.consoleAPICalled" => self.complaints.push(parameters["args"].to_string()),
            "Log.entryAdded" => self.complaints.push(parameters["entry"].to_string()),
            "Network.requestWillBeSent" => {
                let url = parameters["request"]["url"].as_str().unwrap_or_default();
                self.requested.push(url.to_owned());
            }
            _ => {}
        }
    }
}

/// The messages of the browser, each of which a zero ends.
fn read(output: ChildStdout) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for message in BufReader::new(output).split(0).map_while(Result::ok) {
            if sender.send(message).is_err() {
                break;
            }
        }
    });
    receiver
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Both fail only if it has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
