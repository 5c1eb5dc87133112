# shellcheck shell=sh
# An authority of the provider's own, and the server's certificate, which is valid for its name only.
set -eu
umask 077
mkdir -p /etc/provider
cd /etc/provider
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.crt -days 30 \
    -subj "/CN=Provider CA" -addext "keyUsage = critical, keyCertSign"
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout server.key -out server.csr -subj "/CN=managed"
printf 'subjectAltName = DNS:managed\nextendedKeyUsage = serverAuth\n' >server.ext
openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -days 30 -extfile server.ext -out server.crt
rm ca.key server.csr server.ext
chmod 755 .
chmod 644 ca.crt
chown postgres server.key server.crt
