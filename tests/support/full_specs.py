"""Specs that use every field, so that a test can break one of them at a time."""

from typing import Any

_MODEL_RULE: dict[str, Any] = {
    "name": "small-ones",
    "effect": "Allow",
    "match": ["hosted/small*"],
    "agents": ["helper"],
    "principals": ["ci"],
    "scopes": ["models:call"],
}
_TOOL_RULE: dict[str, Any] = {
    **_MODEL_RULE,
    "name": "small-amounts",
    "risks": ["low"],
    "arguments": [{"path": "/amount", "operator": "LessOrEqual", "values": ["100"]}],
}
_ALLOWANCE: dict[str, Any] = {
    "tokens": 1000000,
    "cost": "25.00",
    "toolCalls": 1000,
    "turns": 500,
    "seconds": 3600,
}

ORGANIZATION: dict[str, Any] = {
    "namespace": "team-a",
    "deletionPolicy": "Delete",
    "replicas": 2,
    "limits": {
        "maxMemoryMB": 1024,
        "maxCPUPercent": 200,
        "packages": {
            "pods": 4,
            "memoryMB": 1024,
            "cpuMillicores": 1000,
            "images": ["registry.example.com/agents/*"],
        },
    },
    "models": {
        "default": "hosted/small",
        "providers": [
            {
                "name": "hosted",
                "type": "OpenAICompatible",
                "baseURL": "https://api.example.com/v1",
                "credentialsRef": {"name": "hosted-key", "key": "api-key"},
                "maxRetries": 1,
                "circuitBreaker": {"failures": 3, "openSeconds": 10},
            }
        ],
        "allowed": ["hosted/*"],
        "fallbacks": ["offline/echo"],
        "prices": [
            {
                "model": "hosted/small",
                "inputPerMillion": "0.15",
                "outputPerMillion": "0.60",
                "contextWindow": 128000,
                "maxOutput": 16384,
            }
        ],
        "policy": {
            "mode": "Audit",
            "rules": [_MODEL_RULE],
            "named": [{"name": "cheap", "rules": [_MODEL_RULE]}],
        },
    },
    "network": {"egress": [{"cidr": "203.0.113.0/24", "ports": [443]}]},
    "storage": {
        "sizeMB": 1024,
        "storageClassName": "fast",
        "postgres": {"secretRef": {"name": "database", "key": "dsn"}, "maxConnections": 5},
        "redis": {"secretRef": {"name": "cache", "key": "url"}},
    },
    "budgets": {
        "request": _ALLOWANCE,
        "session": _ALLOWANCE,
        "agentPerDay": _ALLOWANCE,
        "day": _ALLOWANCE,
        "total": _ALLOWANCE,
        "steps": [{"percent": 80, "action": "CheaperModel"}],
        "cheaperModel": "hosted/tiny",
        "throttledRequestsPerMinute": 3,
    },
    "tools": {
        "servers": [
            {
                "name": "tickets",
                "url": "https://tickets.example.com/mcp",
                "credentialsRef": {"name": "tickets", "key": "token"},
                "timeoutSeconds": 20,
                "risk": "low",
                "toolRisks": [{"tool": "delete_ticket", "risk": "high"}],
            }
        ],
        "webFetch": {
            "enabled": True,
            "allowedHosts": ["*.example.com"],
            "maxBytes": 65536,
            "timeoutSeconds": 5,
        },
        "documents": {"configMaps": ["handbook"]},
        "credentials": [
            {
                "name": "crm",
                "secretRef": {"name": "crm-key", "key": "api-key"},
                "hosts": ["crm.example.com"],
            }
        ],
        "privateHosts": ["*.internal.example.com"],
        "policy": {
            "mode": "Enforce",
            "rules": [_TOOL_RULE],
            "named": [{"name": "reading", "rules": [_TOOL_RULE]}],
        },
    },
    "sessions": {
        "expireAfterSeconds": 86400,
        "compaction": {
            "enabled": True,
            "turns": 10,
            "summaryCharacters": 2000,
            "model": "hosted/tiny",
        },
        "cleanup": {"startPercent": 80, "targetPercent": 50, "keepMessages": 3},
    },
    "authentication": {
        "apiKeys": [
            {
                "name": "ci",
                "secretRef": {"name": "ci-key", "key": "token"},
                "principal": "ci",
                "scopes": ["agents:run"],
                "expiresAt": "2030-01-01T00:00:00Z",
            }
        ],
        "oidc": [
            {
                "name": "company",
                "issuer": "https://login.example.com",
                "audience": "bulkhead",
                "jwksURI": "https://login.example.com/keys",
                "principalClaim": "email",
                "scopesClaim": "scp",
                "caSecretRef": {"name": "company-ca", "key": "ca.crt"},
            }
        ],
    },
    "records": {"eventDays": 30, "maxEvents": 100_000, "ledgerDays": 100},
    "telemetry": {
        "tracing": {
            "endpoint": "https://otlp.example.com",
            "headersRef": {"name": "collector", "key": "headers"},
            "samplingRatio": "0.1",
            "captureContent": False,
            "serviceName": "agents",
        },
        "sentry": {"dsnRef": {"name": "sentry", "key": "dsn"}},
    },
    "safety": {
        "injection": "Refuse",
        "moderation": {"provider": "hosted", "model": "moderator", "onFailure": "Allow"},
    },
    "page": "Disabled",
    "integrations": [{"name": "crm", "version": "3.1.0"}],
}

PACKAGE: dict[str, Any] = {
    "version": "1.2.3-rc.1",
    "agents": [
        {
            "name": "helper",
            "description": "Helps.",
            "instructions": "Be kind.",
            "model": "hosted/small",
            "tools": ["look_up"],
            "maxIterations": 3,
            "maxOutputTokens": 100,
            "timeoutSeconds": 10,
            "allowedModels": ["hosted/*"],
            "fallbacks": ["hosted/tiny"],
            "cacheSeconds": 60,
            "budget": _ALLOWANCE,
        }
    ],
    "tools": [
        {
            "name": "look_up",
            "description": "Looks a customer up.",
            "parameters": {"type": "object", "properties": {"id": {"type": "string"}}},
            "method": "GET",
            "url": "https://crm.example.com/customers/{id}",
            "credential": "crm",
            "headerName": "X-Api-Key",
            "risk": "low",
            "timeoutSeconds": 5,
            "idempotent": True,
        }
    ],
    "dependencies": [
        {
            "type": "Integration",
            "name": "crm",
            "version": ">=3 <4",
            "required": False,
            "healthCheck": {"http": {"url": "https://crm.example.com/health"}},
        }
    ],
    "image": {
        "reference": "registry.example.com/agents/support:1.2.3",
        "pullSecretName": "registry",
        "port": 9000,
        "replicas": 2,
        "memoryMB": 128,
        "cpuMillicores": 100,
        "maxCostPerCall": "0.05",
    },
    "runtimeRequirements": {
        "memoryMB": 256,
        "cpuMillicores": 500,
        "python": ">=3.11",
        "runtime": ">=0.1",
    },
    "executionConfig": {"timeoutSeconds": 30, "budget": _ALLOWANCE},
    "healthChecks": [
        {
            "name": "answers",
            "prompt": {
                "agent": "helper",
                "message": "Who are you?",
                "contains": ["helper"],
                "notContains": ["error"],
                "maxSeconds": 5,
                "maxCost": "0.01",
            },
            "timeoutSeconds": 20,
            "attempts": 2,
        }
    ],
    "rollout": {
        "strategy": "Canary",
        "steps": [{"weight": 5, "pauseSeconds": 60}, {"weight": 50, "approval": True}],
        "analysis": {
            "maxErrorPercent": 5,
            "maxLatencySeconds": 10,
            "maxCostPerRun": "0.05",
            "maxToolDenialPercent": 10,
            "minimumExecutions": 20,
        },
        "progressDeadlineSeconds": 300,
        "automaticRollback": False,
        "drainDeadlineSeconds": 3600,
    },
    "revisionHistoryLimit": 5,
    "suspend": True,
}

POOL: dict[str, Any] = {"maxMemoryMB": 100, "defaultRetentionSeconds": 3600}
