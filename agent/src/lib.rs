//! What runs in a pod: server, client, prober, relay, ping
