"""What can be asked: agents, models with prices, tools."""

from fastapi import APIRouter

from bulkhead_runtime.api.rest import views
from bulkhead_runtime.errors import unknown_agent
from bulkhead_runtime.routing.versions import current_version
from bulkhead_runtime.runtime import Runtime


def routes(runtime: Runtime) -> APIRouter:
    """Return the routes over one runtime; every authenticated caller may read them."""
    router = APIRouter(prefix="/v1")

    @router.get("/agents", tags=["agents"])
    async def list_agents() -> views.AgentListView:
        """List the agents that answer."""
        serving = runtime.holder.require().serving
        return views.AgentListView(data=[_agent(runtime, name) for name in serving])

    @router.get("/agents/{agent}", tags=["agents"])
    async def get_agent(agent: str) -> views.AgentView:
        """Return one agent."""
        if agent not in runtime.holder.require().serving:
            raise unknown_agent(agent)
        return _agent(runtime, agent)

    @router.get("/models", tags=["openai"])
    async def list_models() -> views.ModelListView:
        """List agents and models in OpenAI's shape."""
        organization = runtime.settings.organization
        agents = [
            views.ModelView(id=name, created=0, owned_by=organization)
            for name in runtime.holder.require().serving
        ]
        models = [
            views.ModelView(id=model.id, created=0, owned_by=model.provider)
            for model in runtime.router.list_models()
        ]
        return views.ModelListView(data=agents + models)

    @router.get("/llm/router/catalog", tags=["models"])
    async def list_catalog() -> views.CatalogView:
        """List the models that may be called, with prices, sizes and whether they answer now."""
        entries = runtime.router.catalog()
        return views.CatalogView(data=[views.CatalogEntryView.of(entry) for entry in entries])

    @router.get("/tools", tags=["tools"])
    async def list_tools() -> views.ToolListView:
        """List the tools that there are, whether or not policy lets the caller run them."""
        await runtime.tools.prepare()
        return views.ToolListView(data=[views.ToolView.of(tool) for tool in runtime.tools.list()])

    return router


def _agent(runtime: Runtime, name: str) -> views.AgentView:
    configuration = runtime.holder.require()
    version, agent = current_version(configuration, name)
    return views.AgentView(
        name=name,
        description=agent.description,
        package=version.package,
        version=version.version,
        versions=[
            views.VersionView(version=candidate.version, weight=candidate.weight)
            for candidate in configuration.serving[name]
        ],
        model=configuration.model_of(agent),
        tools=list(agent.tools),
    )
