//! The examples for containers are what Kubernetes and Docker Compose take, and keep the rules that the documents state.

use std::path::Path;
use std::process::Command;

#[test]
#[ignore = "needs python and kubernetes-validate: run tests/run"]
fn the_manifest_for_kubernetes_is_one_by_its_own_schemas() {
    let parts = std::env::var("NIGHTDROP_TEST_PARTS").expect("NIGHTDROP_TEST_PARTS is not set: run tests/run");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let said = Command::new("python3")
        .arg(root.join("tests/clients/manifest.py"))
        .arg(root.join("examples/kubernetes/nightdrop.yaml"))
        .arg(root.join("examples/compose.yaml"))
        .env("PYTHONPATH", Path::new(&parts).join("python"))
        .output()
        .expect("python3 cannot be run: run tests/run");
    let text = format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(said.status.success(), "{text}");
}
