# One server, for trying out. In production: three (raft), and auto-unseal.
disable_mlock = true
api_addr      = "https://openbao:8200"
cluster_addr  = "https://openbao:8201"
storage "raft" {
  path    = "/openbao/file"
  node_id = "openbao"
}
listener "tcp" {
  address         = "openbao:8200"
  tls_cert_file   = "/openbao/tls/openbao.pem"
  tls_key_file    = "/openbao/tls/openbao.key"
  tls_min_version = "tls12"
}
