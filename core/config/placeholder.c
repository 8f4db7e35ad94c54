typedef int layer_config_is_empty;
