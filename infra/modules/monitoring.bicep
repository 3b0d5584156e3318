// The workspace with FunctionAppLogs and Application Insights' tables.
@description('Required. Region.')
param location string

@description('Required. First part of the names.')
param name string

@description('Required. GB a day that the workspace takes.')
param dailyQuotaGb int

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-07-01' = {
  name: '${name}-logs'
  location: location
  properties: {
    sku: {
      name: 'PerGB2018'
    }
    retentionInDays: 30
    workspaceCapping: {
      dailyQuotaGb: dailyQuotaGb
    }
  }
}

resource component 'Microsoft.Insights/components@2020-02-02' = {
  name: '${name}-telemetry'
  location: location
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: workspace.id
    // The instrumentation key is known to everyone who may read the app. With this it lets nobody in.
    DisableLocalAuth: true
  }
}

output workspaceName string = workspace.name
output workspaceCustomerId string = workspace.properties.customerId
output componentName string = component.name
