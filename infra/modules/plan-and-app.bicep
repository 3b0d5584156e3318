// The plan, the app with all its settings, and where its logs go.
@description('Required. Region.')
param location string

@description('Required. The app, and so its host name.')
param appName string

@description('Required. The plan.')
param planName string

@description('Required. Resource id of the identity the app runs as.')
param identityId string

@description('Required. Client id of that identity.')
param identityClientId string

@description('Required. Account of blobs, queues and task hub.')
param dataAccountName string

@description('Required. Account of the content share.')
param contentAccountName string

@description('Required. The content share.')
param contentShareName string

@description('Required. Application Insights.')
param componentName string

@description('Required. Workspace for FunctionAppLogs.')
param workspaceName string

@description('Required. buffering or streaming.')
param preset string

@description('Required. Address ranges that may call the app.')
param allowedAddresses string[]

var presets = {
  buffering: loadJsonContent('../../load/oom/buffering.json')
  streaming: loadJsonContent('../../load/oom/streaming.json')
}

var settings = [
  {
    name: 'FUNCTIONS_EXTENSION_VERSION'
    value: '~4'
  }
  {
    name: 'FUNCTIONS_WORKER_RUNTIME'
    value: 'custom'
  }
  {
    name: 'AzureWebJobsStorage__accountName'
    value: dataAccountName
  }
  {
    name: 'AzureWebJobsStorage__credential'
    value: 'managedidentity'
  }
  {
    name: 'AzureWebJobsStorage__clientId'
    value: identityClientId
  }
  {
    name: 'APPLICATIONINSIGHTS_CONNECTION_STRING'
    value: component.properties.ConnectionString
  }
  {
    name: 'APPLICATIONINSIGHTS_AUTHENTICATION_STRING'
    value: 'Authorization=AAD;ClientId=${identityClientId}'
  }
  // The package is mounted as it is, read-only: nothing is built there.
  {
    name: 'WEBSITE_RUN_FROM_PACKAGE'
    value: '1'
  }
  {
    name: 'SCM_DO_BUILD_DURING_DEPLOYMENT'
    value: 'false'
  }
  {
    name: 'ENABLE_ORYX_BUILD'
    value: 'false'
  }
  {
    name: 'WEBSITE_CONTENTSHARE'
    value: contentShareName
  }
  {
    name: 'WEBSITE_CONTENTAZUREFILECONNECTIONSTRING'
    value: 'DefaultEndpointsProtocol=https;AccountName=${content.name};AccountKey=${content.listKeys().keys[0].value};EndpointSuffix=${environment().suffixes.storage}'
  }
]

var siteConfig = {
  // A custom handler's runtime is the package: there is no stack to choose.
  linuxFxVersion: ''
  use32BitWorkerProcess: false
  // One instance, always: a second one would take half the load, and with it the incident.
  minimumElasticInstanceCount: 1
  functionAppScaleLimit: 1
  ftpsState: 'Disabled'
  minTlsVersion: '1.2'
  scmMinTlsVersion: '1.2'
  http20Enabled: true
}

resource component 'Microsoft.Insights/components@2020-02-02' existing = {
  name: componentName
}

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-07-01' existing = {
  name: workspaceName
}

resource content 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: contentAccountName
}

resource plan 'Microsoft.Web/serverfarms@2025-03-01' = {
  name: planName
  location: location
  kind: 'elastic'
  sku: {
    name: 'EP1'
    tier: 'ElasticPremium'
  }
  properties: {
    // Linux.
    reserved: true
    maximumElasticWorkerCount: 1
  }
}

resource app 'Microsoft.Web/sites@2025-03-01' = {
  name: appName
  location: location
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityId}': {}
    }
  }
  properties: {
    serverFarmId: plan.id
    reserved: true
    httpsOnly: true
    clientAffinityEnabled: false
    siteConfig: union(siteConfig, {
      appSettings: concat(settings, map(items(presets[preset]), it => { name: it.key, value: it.value }))
    })
  }
}

// Deployment signs in with az login; no password of the app's own opens it.
resource ftpPublishing 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01' = {
  parent: app
  name: 'ftp'
  properties: {
    allow: false
  }
}

resource scmPublishing 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01' = {
  parent: app
  name: 'scm'
  properties: {
    allow: false
  }
}

resource logs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'function-app-logs'
  scope: app
  properties: {
    workspaceId: workspace.id
    logs: [
      {
        category: 'FunctionAppLogs'
        enabled: true
      }
    ]
  }
}

// A module, because a loop takes only what is known when it starts, and the app's addresses are known once it exists.
module restriction 'ip-restriction.bicep' = {
  name: 'ip-restriction'
  params: {
    appName: app.name
    siteConfig: siteConfig
    allowedAddresses: allowedAddresses
    outboundAddresses: split(app.properties.possibleOutboundIpAddresses, ',')
  }
}

output appName string = app.name
output appUrl string = 'https://${app.properties.defaultHostName}'
