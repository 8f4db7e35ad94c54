/* core/auth/can.h - the service "athena.rights@1": would this key be let through, and why? */
#ifndef CORE_AUTH_CAN_H
#define CORE_AUTH_CAN_H

#include <athena/service/rights.h>

extern const ath_rights rights_service;

#endif
