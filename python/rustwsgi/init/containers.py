"""An image, and services of Docker Compose, Kubernetes and platforms with a Procfile.

`container_tls` has what TLS adds to them.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import replace

from rustwsgi.init import container_tls as tls
from rustwsgi.init.container_tls import Port
from rustwsgi.init.project import Project
from rustwsgi.init.template import fill, yaml_word

#: The ports of the application without TLS, and of metrics and health checks.
PORT = 8000
METRICS = 9100
#: The user in the image; a number, so that Kubernetes can verify that it is not root.
USER = 10001
#: How long a pod waits before the server gets TERM, in seconds.
PRE_STOP = 5
MARGIN = 10
#: Options whose values on this machine mean nothing in a container.
LOCAL = ("bind", "redirect_bind", "metrics", "access_logfile")
#: Installs packages, those in wheels/ without an index.
INSTALL = (
    "RUN --mount=type=bind,source=wheels,target=/wheels \\\n"
    "    pip install --no-cache-dir --find-links /wheels"
)

DOCKERFILE = """\
# Printed by: rustwsgi init docker @app@
#
#   mkdir -p wheels; cp rustwsgi-*.whl wheels/     # if no package index has rustwsgi
#   docker build -t @name@ .
#   docker run @run@ --read-only --tmpfs /tmp @name@
#
# List .git, .venv and what else the image does not need in .dockerignore.
@remarks@
FROM python:@python@-slim-bookworm

WORKDIR @directory@
@requirements@
COPY . .
RUN python -m compileall -q .
@cache@

# Not root, and the files of the application belong to root.
USER @user@:@user@
ENV PYTHONUNBUFFERED=1
EXPOSE @ports@
# Of the master, which answers while all threads are busy, too.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s CMD \\
    ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:9100/ready')"]
# In brackets, so that the server is process 1 and gets the TERM that stops the container. It needs
# --graceful-timeout (30 s) to finish running requests: docker stop -t 40.
CMD @command@
"""

COMPOSE = """\
# compose.yaml, printed by: rustwsgi init compose @app@
#
# `rustwsgi init docker` prints the Dockerfile that it builds.
@remarks@
services:
  @name@:
    build: .
    image: @name@
@comment@
    ports:
@ports@
@sysctls@
@volumes@
    environment:
      # Any option may be set here, as RUSTWSGI_....
      WEB_CONCURRENCY: "@workers@"
      RUSTWSGI_LIMIT_MEMORY: 256m
      RUSTWSGI_LIMIT_SPOOL: 512m
    # Longer than --graceful-timeout.
    stop_grace_period: @stop@s
    restart: unless-stopped
    read_only: true
    # Large request bodies, and responses that are read slowly: --limit-spool for each worker.
    tmpfs:
      - /tmp
    cap_drop:
      - ALL
    security_opt:
      - no-new-privileges:true
    deploy:
      resources:
        limits:
          cpus: "@workers@"
          memory: 1g
@named@
"""

KUBERNETES = """\
# Printed by: rustwsgi init kubernetes @app@
#
#   rustwsgi init kubernetes @app@ > @name@.yaml
@secret@
#   kubectl apply -f @name@.yaml
#
# `rustwsgi init docker` prints the Dockerfile of the image.
@remarks@
apiVersion: apps/v1
kind: Deployment
metadata:
  name: @name@
  labels: {app: @name@}
spec:
  replicas: 2
  selector:
    matchLabels: {app: @name@}
  strategy:
    # A new pod is ready before an old one ends.
    rollingUpdate: {maxSurge: 1, maxUnavailable: 0}
  template:
    metadata:
      labels: {app: @name@}
      annotations:
        prometheus.io/scrape: "true"
        prometheus.io/port: "9100"
    spec:
      # Longer than preStop and --graceful-timeout together.
      terminationGracePeriodSeconds: @stop@
      automountServiceAccountToken: false
      securityContext:
        runAsNonRoot: true
        runAsUser: @user@
        runAsGroup: @user@
        seccompProfile: {type: RuntimeDefault}
@sysctls@
      # One pod a node, as far as possible.
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels: {app: @name@}
      containers:
        - name: @name@
          image: registry.example/@name@:1
          args: @arguments@
          env:
            # One worker for each processor of the pod. Scale with pods.
            - {name: WEB_CONCURRENCY, value: "1"}
          ports:
@containers@
            - {name: metrics, containerPort: 9100}
          # The master answers probes, without a thread of the application: a pod that is only
          # busy is neither restarted nor taken out of the service.
          startupProbe:
            httpGet: {path: /ready, port: metrics}
            periodSeconds: 2
            # 300 s, as --boot-timeout.
            failureThreshold: 150
          readinessProbe:
            httpGet: {path: /ready, port: metrics}
            periodSeconds: 2
            timeoutSeconds: 2
          livenessProbe:
            httpGet: {path: /live, port: metrics}
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 3
          lifecycle:
            # A pod that ends still gets requests for a moment: TERM follows after them.
            preStop:
              exec: {command: [sleep, "5"]}
          resources:
            requests: {cpu: "1", memory: 256Mi}
            limits: {memory: 512Mi}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {drop: [ALL]}
          volumeMounts:
            # For request bodies and responses beyond memory (--limit-spool).
            - {name: tmp, mountPath: /tmp}
@mounts@
      volumes:
        - name: tmp
          emptyDir: {sizeLimit: 1Gi}
@pod_volumes@
---
apiVersion: v1
kind: Service
metadata:
  name: @name@
  labels: {app: @name@}
spec:
  selector: {app: @name@}
  ports:
@services@
---
# Scales by the requests that wait for a thread, which an adapter for Prometheus offers as a metric
# of pods. Without such an adapter, use a Resource metric: cpu, averageUtilization 70.
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: @name@
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: @name@}
  minReplicas: 2
  maxReplicas: 10
  metrics:
    - type: Pods
      pods:
        metric: {name: rustwsgi_requests_queued}
        # More than one request waits in each pod, on average.
        target: {type: AverageValue, averageValue: "1"}
  behavior:
    # A queue grows within seconds; an idle pod costs little.
    scaleUp: {stabilizationWindowSeconds: 0}
    scaleDown: {stabilizationWindowSeconds: 300}
---
# Maintenance of nodes leaves one pod.
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: @name@
spec:
  maxUnavailable: 1
  selector:
    matchLabels: {app: @name@}
---
# Clients reach the application; only the namespace of the monitoring reaches the metrics, which
# show the targets of requests. Probes of the kubelet come from the node and are always allowed.
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: @name@
spec:
  podSelector:
    matchLabels: {app: @name@}
  policyTypes: [Ingress]
  ingress:
    - ports:
@allowed@
    - from:
        - namespaceSelector:
            matchLabels: {kubernetes.io/metadata.name: monitoring}
      ports:
        - {port: metrics}
"""

#: For a pod with TLS.
SYSCTLS = f"""\
        # Its ports are below 1024.
        sysctls:
          - {{name: {tls.SYSCTL}, value: "0"}}"""

PROCFILE = """\
# Procfile, printed by: rustwsgi init procfile @app@
#
# The platform sets PORT, at which the server then listens on all interfaces, and WEB_CONCURRENCY,
# the number of workers. Only its router can connect, so any address may say who the client is.
# Connections stay open longer than the router keeps them (90 s).
web: @command@
"""


def docker(project: Project) -> str:
    inside = in_container(project)
    if project.requirements == "requirements.txt":
        requirements = [
            "COPY requirements.txt .",
            f"{INSTALL} rustwsgi -r requirements.txt",
        ]
    else:
        requirements = [f"{INSTALL} rustwsgi"]
        if project.requirements:
            requirements += ["COPY . .", "RUN pip install --no-cache-dir ."]
        else:
            requirements += ["# Install what the application needs, such as Flask or Django."]
    wanted = {
        **addresses(project),
        "metrics": f"127.0.0.1:{METRICS}",
        "access_logfile": "-",
    }
    cache = ""
    if "acme_domain" in project.options:
        path = shlex.quote(tls.acme_cache(project))
        cache = (
            "# A new volume for the account and the certificates of ACME gets this owner.\n"
            f"RUN install -d -m 0700 -o {USER} -g {USER} {path}"
        )
    return fill(
        DOCKERFILE,
        name=project.name,
        app=project.quoted_app,
        python=project.python,
        directory=inside.directory,
        run=tls.run_options(project) if project.has_tls else f"-p {PORT}:{PORT}",
        remarks=tls.remarks(project, USER) if project.has_tls else "",
        cache=cache,
        ports=" ".join(str(port.number) for port in ports(project)),
        requirements="\n".join(requirements),
        user=str(USER),
        command=json.dumps(inside.arguments(wanted)),
    )


def compose(project: Project) -> str:
    has_tls, has_acme = project.has_tls, "acme_domain" in project.options
    comment = "# On this machine only: put a proxy in front, or write 80:8000."
    sysctls = "# The server is not root in the container, and its ports are below 1024."
    has_volumes = has_tls and (has_acme or tls.mounts(project))
    return fill(
        COMPOSE,
        name=project.name,
        app=project.quoted_app,
        remarks=tls.remarks(project, USER) if has_tls else "",
        comment="" if has_tls else f"    {comment}",
        ports=tls.compose_ports(project) if has_tls else f'      - "127.0.0.1:{PORT}:{PORT}"',
        sysctls=f"    {sysctls}\n    sysctls:\n      {tls.SYSCTL}: 0" if has_tls else "",
        volumes=tls.compose_volumes(project) if has_volumes else "",
        named="volumes:\n  acme:" if has_acme else "",
        workers=project.workers if project.workers.isdecimal() else "2",
        stop=str(project.number("graceful_timeout", 30) + MARGIN),
    )


def kubernetes(project: Project) -> str:
    """Raises InitError."""
    tls.refuse_acme(project)
    mounts, volumes = tls.volumes(project) if project.has_tls else ([], [])
    wanted = {
        **addresses(project),
        "metrics": f":{METRICS}",
        "access_logfile": "-",
        "limit_memory": "128m",
        "limit_spool": "512m",
    }
    words = in_container(project).arguments(wanted)
    return fill(
        KUBERNETES,
        name=project.name,
        app=project.quoted_app,
        user=str(USER),
        secret=tls.secret_command(project) if project.has_tls else "",
        remarks=tls.pod_remarks(project) if project.has_tls else "",
        sysctls=SYSCTLS if project.has_tls else "",
        containers="\n".join(
            f"            - {{name: {port.name}, containerPort: {port.number}}}"
            for port in ports(project)
        ),
        mounts="\n".join(mounts),
        pod_volumes="\n".join(volumes),
        services="\n".join(
            f"    - {{name: {port.name}, port: {port.number if project.has_tls else 80}, "
            f"targetPort: {port.name}}}"
            for port in ports(project)
        ),
        allowed="\n".join(f"        - {{port: {port.name}}}" for port in ports(project)),
        stop=str(project.number("graceful_timeout", 30) + PRE_STOP + MARGIN),
        arguments=f"[{', '.join(map(yaml_word, words))}]",
    )


def procfile(project: Project) -> str:
    """Raises InitError."""
    tls.refuse_tls(project)
    wanted = {
        "keep_alive": "95",
        "forwarded_headers": "for,proto",
        "forwarded_allow_ips": "*",
        "access_logfile": "-",
    }
    words = in_container(project).arguments(wanted)
    command = shlex.join(words)
    if "bind" in project.options:
        # The address of the file would take precedence over PORT.
        command = command.replace("rustwsgi", "rustwsgi --bind 0.0.0.0:$PORT", 1)
    return fill(PROCFILE, app=project.quoted_app, command=command)


def ports(project: Project) -> list[Port]:
    """The ports that clients use."""
    return tls.ports(project) if project.has_tls else [Port("http", PORT)]


def addresses(project: Project) -> dict[str, str]:
    """The options for what the container offers and stores."""
    return tls.addresses(project) if project.has_tls else {"bind": f":{PORT}"}


def in_container(project: Project) -> Project:
    """The project with the paths of an image. Its addresses are those of the image as well."""
    options = {name: values for name, values in project.options.items() if name not in LOCAL}
    return replace(project, program="rustwsgi", directory=tls.in_image(project), options=options)
