-- The row that says whether keys are asked for in general: where there is none yet, they are not.

INSERT INTO api_key_config (api_key_config_id) VALUES ('00000000-0000-0000-0000-000000000000')
ON CONFLICT (api_key_config_id) DO NOTHING;
