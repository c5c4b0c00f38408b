"""What the peers and the upstream are told: their configuration files, to be formatted with ports and paths."""

from __future__ import annotations

UPSTREAM_CONF = """user root; worker_processes 1; daemon off; pid {dir}/upstream.pid; error_log {dir}/upstream.err;
events {{ worker_connections 20000; }}
http {{ access_log off; keepalive_requests 1000000000; client_max_body_size 0; default_type text/plain;
client_body_temp_path {dir}/ub; proxy_temp_path {dir}/up; fastcgi_temp_path {dir}/uf; uwsgi_temp_path {dir}/uu;
scgi_temp_path {dir}/us; sendfile on;
server {{ listen 127.0.0.1:{port} backlog=8192 reuseport; listen 127.0.0.1:{tls_port} ssl backlog=8192;
ssl_certificate {certificate}; ssl_certificate_key {certificate}; root {dir}/files;
location /camp/intro/small {{ return 200 "{small}"; }}
location /camp/intro/chunked {{ ssi on; ssi_types text/plain; }} }} }}
"""
PROXY_CONF = """user root; worker_processes 1; worker_rlimit_nofile 60000; daemon off;
pid {dir}/{name}.pid; error_log {dir}/{name}.err;
events {{ worker_connections 30000; }}
http {{ access_log off; keepalive_requests 1000000000; client_max_body_size 0; {extra}
client_body_temp_path {dir}/{name}b; proxy_temp_path {dir}/{name}p; fastcgi_temp_path {dir}/{name}f;
uwsgi_temp_path {dir}/{name}u; scgi_temp_path {dir}/{name}s;
map $http_upgrade $connection_up {{ default upgrade; '' ''; }}
upstream web {{ server 127.0.0.1:{upstream}; keepalive 4096; keepalive_requests 1000000000; }}
upstream echo {{ server 127.0.0.1:{echo}; keepalive 16; }}
server {{ listen 127.0.0.1:{port} {tls};
proxy_http_version 1.1; proxy_set_header Host $http_host; proxy_set_header Connection $connection_up;
proxy_set_header Upgrade $http_upgrade; proxy_set_header X-Forwarded-For $remote_addr; proxy_read_timeout 3600;
location /camp/intro/echo {{ proxy_pass http://echo; }} location / {{ proxy_pass http://web; }} }} }}
"""
LARGE_BUFFERS = (
    "proxy_buffer_size 256k; proxy_buffers 8 256k; proxy_busy_buffers_size 512k; "
    "proxy_request_buffering off; proxy_max_temp_file_size 0;"
)
NGINX_TLS = "ssl_protocols TLSv1.2 TLSv1.3"
"""As of nginx 1.23.4: earlier ones leave out TLS 1.3 by default, which the others then speak alone."""
HAPROXY_CONF = """global
  nbthread 1
  maxconn 8000
defaults
  mode http
  timeout connect 5s
  timeout client 3600s
  timeout server 3600s
  option http-keep-alive
  http-reuse always
frontend all
  bind 127.0.0.1:{port} {tls}
  option forwardfor
  use_backend echo if {{ path_beg /camp/intro/echo }}
  default_backend web
backend web
  server web 127.0.0.1:{upstream} pool-max-conn -1
backend echo
  server echo 127.0.0.1:{echo}
"""
CADDYFILE = """{{
  admin off
  auto_https off
}}
http://127.0.0.1:{port} {{
  reverse_proxy /camp/intro/echo* 127.0.0.1:{echo}
  reverse_proxy 127.0.0.1:{upstream} {{
    transport http {{
      keepalive_idle_conns_per_host 4096
    }}
  }}
}}
"""
