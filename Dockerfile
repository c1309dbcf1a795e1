# syntax=docker/dockerfile:1
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/aioscheduler
COPY setup.cfg pyproject.toml README.md LICENSE ./
COPY src src
RUN /opt/aioscheduler/bin/pip install --no-cache-dir --no-compile '.[embedded,uvloop]'

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --user-group --no-create-home aioscheduler \
    && install --directory --owner aioscheduler --group aioscheduler --mode 700 /data
COPY --from=build /opt/aioscheduler /opt/aioscheduler
ENV PATH=/opt/aioscheduler/bin:$PATH PYTHONUNBUFFERED=1 DATA_DIR=/data
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
# Not curl: a slim image has none.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["python", "-c", \
    "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ.get(\"API_PORT\") or 8000}/health', timeout=2)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["aioscheduler"]
CMD ["serve"]
