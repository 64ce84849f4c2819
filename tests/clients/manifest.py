# Given the manifest and the compose file. The manifest for Kubernetes against the schemas of Kubernetes itself (kubernetes-validate), strictly: a field that nobody knows is an error. And what a schema cannot say.
import sys

import kubernetes_validate
import yaml

path = sys.argv[1]
with open(path, encoding="utf-8") as file:
    found = list(yaml.safe_load_all(file))
newest = kubernetes_validate.latest_version()
for resource in found:
    kubernetes_validate.validate(resource, newest, strict=True)

# The check can fail.
wrong = {**found[0], "spec": {**found[0]["spec"], "selectr": {}}}
try:
    kubernetes_validate.validate(wrong, newest, strict=True)
except kubernetes_validate.ValidationError:
    pass
else:
    sys.exit("a field that nobody knows was taken")

(portal,) = [resource for resource in found if resource["kind"] == "StatefulSet"]
assert portal["spec"]["replicas"] == 1
pod = portal["spec"]["template"]["spec"]
assert pod["terminationGracePeriodSeconds"] >= 40
assert pod["securityContext"]["runAsNonRoot"] and pod["automountServiceAccountToken"] is False
for container in pod["containers"] + pod["initContainers"]:
    security = container["securityContext"]
    assert security["readOnlyRootFilesystem"] and not security["allowPrivilegeEscalation"]
    assert security["capabilities"] == {"drop": ["ALL"]}
(serving,) = pod["containers"]
assert all(probe in serving for probe in ("startupProbe", "livenessProbe", "readinessProbe"))
labels = portal["spec"]["template"]["metadata"]["labels"]
for resource in found:
    if resource["kind"] == "Service":
        assert resource["spec"]["selector"] == labels
        assert all(port["targetPort"] in [p["name"] for p in serving["ports"]] for port in resource["spec"]["ports"])
    if resource["kind"] == "NetworkPolicy":
        assert resource["spec"]["podSelector"]["matchLabels"] == labels
# The same of the example for Docker Compose, whose own schema nobody has here.
with open(sys.argv[2], encoding="utf-8") as file:
    (service,) = yaml.safe_load(file)["services"].values()
assert service["read_only"] and service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"]
assert int(service["stop_grace_period"].removesuffix("s")) >= 40
assert service["mem_limit"] == service["memswap_limit"]
assert all(port.startswith("127.0.0.1:") for port in service["ports"] if port.endswith(":8081"))
print(f"{len(found)} resources, as Kubernetes {newest} has them")
