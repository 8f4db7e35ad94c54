typedef int layer_http_is_empty;
