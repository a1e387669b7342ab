# The gateway in a container. It reads /srv/gateway/config.yaml and writes under /srv/gateway/var:
#
#   docker run -p 8080:8080 -e OPENAI_API_KEY -v ./config.yaml:/srv/gateway/config.yaml:ro -v gateway-var:/srv/gateway/var gateway-llm
#
# Policies of your own are mounted beside config.yaml. Without a config.yaml it refuses to start and says so.
# No key is ever part of the image: config.yaml names environment variables.

# The one image it stands on, twice: at an exact tag, or pinned by its digest with `--build-arg BASE=python@sha256:…`
# (docs/running-it-for-others.md).
ARG BASE=python:3.11.14-slim-bookworm

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
RUN python -m venv /opt/gateway
COPY requirements.lock requirements-build.lock ./
RUN /opt/gateway/bin/pip install --no-deps --require-hashes --only-binary :all: -r requirements.lock \
 && pip install --no-deps --require-hashes --only-binary :all: -r requirements-build.lock
COPY pyproject.toml README.md LICENSE config.example.yaml ./
COPY policies policies
COPY gateway gateway
RUN pip wheel --no-deps --no-index --no-build-isolation --wheel-dir dist . \
 && /opt/gateway/bin/pip install --no-deps --no-index dist/*.whl \
 && /opt/gateway/bin/pip uninstall --yes pip

FROM ${BASE}
RUN useradd --system --uid 10001 --home-dir /srv/gateway --shell /usr/sbin/nologin gateway \
 && install -d -o gateway -g gateway /srv/gateway /srv/gateway/var
COPY --from=build /opt/gateway /opt/gateway
ENV PATH=/opt/gateway/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /srv/gateway
USER gateway
VOLUME /srv/gateway/var
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/health', timeout=2)"]
ENTRYPOINT ["gateway"]
CMD ["serve", "--config", "/srv/gateway/config.yaml", "--host", "0.0.0.0", "--port", "8080"]
