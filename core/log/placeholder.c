typedef int layer_log_is_empty;
