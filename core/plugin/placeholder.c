typedef int layer_plugin_is_empty;
